import { conversions } from './library/conversions.ts'
import { formats } from './library/formats.ts'
import { lists } from './library/lists.ts'
import { addresses } from './library/net.ts'
import { ocm } from './library/ocm.ts'
import { operators } from './library/operators.ts'
import { forms, optional } from './library/optional.ts'
import { quantities } from './library/quantities.ts'
import { regexes } from './library/regex.ts'
import { semvers } from './library/semver.ts'
import { strings } from './library/strings.ts'
import { time } from './library/time.ts'
import { urls } from './library/url.ts'
import { library } from './overload.ts'
import { parseType } from './types.ts'

// OCM's environment: standard CEL, optional types, extended strings, and the libraries of Kubernetes that OCM names.

export const FUNCTIONS = library(
  operators,
  forms,
  conversions,
  time,
  optional,
  strings,
  lists,
  regexes,
  urls,
  quantities,
  addresses,
  formats,
  semvers,
  ocm,
)

export const VARIABLES = { managedCluster: parseType('map(string, dyn)') }
