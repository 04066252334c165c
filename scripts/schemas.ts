import { jsonSchemas } from '@skerry/api'

// Prints every schema of the API and of the wire as JSON Schema (draft 2020-12), one object by name.

console.log(JSON.stringify(jsonSchemas(), null, 2))
