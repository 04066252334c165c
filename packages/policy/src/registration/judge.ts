import { type JoinTokenSpec, Refusal, type RegistrationRequest } from '@skerry/api'

/** What the hub knows when a node asks to belong with a token whose secret was right. */
export type TokenFacts = {
  readonly spec: JoinTokenSpec
  readonly uses: number
  readonly alreadyCounted: boolean
  readonly clusterExists: boolean
}

/** Whether a token admits a request; undefined when it does. */
export function judgeToken(
  request: Pick<RegistrationRequest, 'class'>,
  cluster: string,
  { spec, uses, alreadyCounted, clusterExists }: TokenFacts,
  nowMs: number,
): Refusal | undefined {
  if (Date.parse(spec.expiresAt) <= nowMs)
    return new Refusal('TokenExpired', `the join token expired at ${spec.expiresAt}`)
  if (!spec.classes.includes(request.class))
    return new Refusal('TokenOutOfScope', `the join token does not admit class ${request.class}`)
  if (spec.cluster !== undefined && spec.cluster !== cluster)
    return new Refusal('TokenOutOfScope', `the join token is for cluster ${spec.cluster}`)
  // A further node of a cluster that exists needs a token bound to it: no token may push a node into a foreign cluster.
  if (clusterExists && spec.cluster !== cluster && !alreadyCounted)
    return new Refusal('TokenOutOfScope', `cluster ${cluster} exists; a further node needs a token bound to it`)
  if (!alreadyCounted && uses >= spec.maxUses)
    return new Refusal('TokenUsedUp', `the join token was used ${uses} times, which is all it allows`)
  return undefined
}

/** The id of a node from its name: one RFC 1123 label, so that it is exactly one NATS token. */
export function nodeIdOf(nodeName: string): string {
  const id = nodeName
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63)
    .replaceAll(/-+$/g, '')
  if (id === '')
    throw new Refusal('InvalidField', `the node name "${nodeName}" holds no letter or digit of a label`, {
      field: 'nodeName',
    })
  return id
}
