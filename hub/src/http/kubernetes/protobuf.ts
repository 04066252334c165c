import { StatusError } from '../status-error.ts'

// As much of protobuf as one question of kubectl needs: strings and messages by their number.

/** A message whose members are texts or messages of this form, by field number. */
export type Shape = { readonly [field: number]: readonly [name: string, shape: Shape | 'text'] }

/** The envelope of Kubernetes' protobuf (k8s.io/apimachinery, runtime.Unknown): a mark, then the object in field 2. */
export function readKubernetesProtobuf(body: Buffer, shape: Shape): Record<string, unknown> {
  if (body.subarray(0, 4).toString('latin1') !== 'k8s\0') throw malformed()
  for (const { field, bytes } of members(body.subarray(4))) if (field === 2 && bytes) return read(bytes, shape)
  return {}
}

function read(body: Buffer, shape: Shape): Record<string, unknown> {
  const value: Record<string, unknown> = {}
  for (const { field, bytes } of members(body)) {
    const known = shape[field]
    if (!known || !bytes) continue
    const [name, inner] = known
    value[name] = inner === 'text' ? bytes.toString('utf8') : read(bytes, inner)
  }
  return value
}

// https://protobuf.dev/programming-guides/encoding: a tag is the field's number and its wire type.
function* members(body: Buffer): Generator<{ field: number; bytes: Buffer | undefined }> {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = body[at]
      if (byte === undefined) throw malformed()
      at += 1
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw malformed()
  }
  while (at < body.length) {
    const tag = varint()
    const [field, type] = [Math.floor(tag / 8), tag % 8]
    if (type === 2) {
      const length = varint()
      if (at + length > body.length) throw malformed()
      yield { field, bytes: body.subarray(at, at + length) }
      at += length
      continue
    }
    if (type === 0) varint()
    else if (type === 1) at += 8
    else if (type === 5) at += 4
    else throw malformed()
    yield { field, bytes: undefined }
  }
}

function malformed(): StatusError {
  return new StatusError(400, "the body is no message in Kubernetes' protobuf")
}
