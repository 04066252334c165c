import { Option } from 'commander'
import { stringify } from 'yaml'

/** -o is always the form of what is printed. */
export type Form = 'table' | 'wide' | 'json' | 'yaml' | 'name'

/** The -o of a command, with the forms it can print; the first is the default. */
export function formOption(...forms: readonly [Form, ...Form[]]): Option {
  return new Option('-o, --output <form>', 'the form of what is printed').choices(forms).default(forms[0])
}

export function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

export function toYaml(value: unknown): string {
  // kubectl reads YAML 1.1, where a bare yes or on is a truth value.
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false, compat: 'yaml-1.1' })
}

/** One object in a form that is not a table. In a list of documents each YAML document begins with its mark. */
export function toText(value: unknown, form: 'json' | 'yaml'): string {
  return form === 'json' ? toJson(value) : toYaml(value)
}

/** Kubernetes' list of objects of any kinds. */
export function listOf(items: readonly unknown[]): object {
  return { apiVersion: 'v1', kind: 'List', metadata: { resourceVersion: '' }, items }
}
