import {
  AccessQuestion,
  Approval,
  GateApproval,
  NewApiToken,
  objectSchema,
  RegistrationAnswer,
  RegistrationChallenge,
  RemovalApproval,
  Retry,
  RolloutActAnswer,
  RolloutActList,
  Rotation,
  Steering,
} from '@skerry/api'

// What the hub serves besides the kinds. A test holds this list against the routes themselves, both ways.

export type OtherRoute = {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly summary: string
  /** Answers without a token. */
  readonly open?: true
  readonly query?: readonly string[]
  readonly body?: { readonly type: string; readonly schema: object }
  readonly answer?: object
  /** Of the answer; JSON unless it says otherwise. */
  readonly type?: string
}

const OURS = '/apis/skerry.dev/v1alpha1'
const OCM = '/apis/cluster.open-cluster-management.io'
const BYTES = 'application/octet-stream'
const TEXT = 'text/plain'
const jws = { type: 'application/jose', schema: { type: 'string', description: 'a compact JWS' } }
const file = { type: BYTES, schema: { type: 'string', format: 'binary' } }

/** Something that a person does to a rollout; what stands already is answered 200, and what is new 201. */
const act = (verb: string, summary: string, schema: object): OtherRoute => ({
  method: 'POST',
  path: `${OURS}/namespaces/{namespace}/rollouts/{name}/${verb}`,
  summary,
  query: ['dryRun'],
  body: { type: 'application/json', schema },
  answer: RolloutActAnswer,
})

export const OTHER_ROUTES: readonly OtherRoute[] = [
  { method: 'GET', path: '/livez', summary: 'the process answers', open: true, type: TEXT },
  { method: 'GET', path: '/readyz', summary: 'every part answers', open: true, query: ['verbose'], type: TEXT },
  { method: 'GET', path: '/startupz', summary: 'every part answered', open: true, query: ['verbose'], type: TEXT },
  { method: 'GET', path: '/metrics', summary: "Prometheus' text format", type: TEXT },
  { method: 'GET', path: '/version', summary: 'which Kubernetes API this is like', open: true },
  { method: 'GET', path: '/api', summary: 'discovery: the core group' },
  { method: 'GET', path: '/api/v1', summary: 'discovery: namespaces alone' },
  { method: 'GET', path: '/api/v1/namespaces/{name}', summary: 'a namespace: every one is there' },
  { method: 'GET', path: '/apis', summary: 'discovery: groups' },
  { method: 'GET', path: '/apis/skerry.dev', summary: 'discovery: versions of a group' },
  { method: 'GET', path: '/apis/cluster.open-cluster-management.io', summary: 'discovery: versions of a group' },
  { method: 'GET', path: OURS, summary: 'discovery: kinds' },
  { method: 'GET', path: `${OCM}/v1`, summary: 'discovery: kinds' },
  { method: 'GET', path: `${OCM}/v1alpha1`, summary: 'discovery: kinds' },
  { method: 'GET', path: `${OCM}/v1beta1`, summary: 'discovery: kinds' },
  { method: 'GET', path: `${OCM}/v1beta2`, summary: 'discovery: kinds' },
  {
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
    summary: 'whether the caller may do something',
    body: { type: 'application/json', schema: AccessQuestion },
  },
  { method: 'GET', path: '/openapi/v3', summary: 'OpenAPI 3.0 documents by group and version' },
  { method: 'GET', path: `/openapi/v3${OURS}`, summary: 'OpenAPI 3.0 of a group' },
  { method: 'GET', path: `/openapi/v3${OCM}/v1`, summary: 'OpenAPI 3.0 of a group' },
  { method: 'GET', path: `/openapi/v3${OCM}/v1alpha1`, summary: 'OpenAPI 3.0 of a group' },
  { method: 'GET', path: `/openapi/v3${OCM}/v1beta1`, summary: 'OpenAPI 3.0 of a group' },
  { method: 'GET', path: `/openapi/v3${OCM}/v1beta2`, summary: 'OpenAPI 3.0 of a group' },
  { method: 'GET', path: '/openapi/v2', summary: "empty, for kubectl's question about unknown kinds", type: BYTES },
  { method: 'GET', path: '/openapi.json', summary: 'this document' },
  {
    method: 'PUT',
    path: `${OURS}/namespaces/{namespace}/registrations/{name}/approval`,
    summary: "a person's half of the double opt-in",
    query: ['dryRun'],
    body: { type: 'application/json', schema: Approval },
  },
  {
    method: 'PUT',
    path: `${OURS}/namespaces/{namespace}/registrations/{name}/rotation`,
    summary: "end the node's present NATS key; it comes back with another by itself",
    query: ['dryRun'],
    body: { type: 'application/json', schema: Rotation },
  },
  act('pause', 'nothing new starts in a rollout; what is activating finishes', Steering),
  act('resume', 'a rollout goes on after a pause or a breach', Steering),
  act('abort', 'a rollout ends for good where it stands', Steering),
  act('retry', 'clusters that failed are sent the same image once more', Retry),
  act('approve', 'one approval of the image at a gate', GateApproval),
  {
    method: 'GET',
    path: `${OURS}/namespaces/{namespace}/rollouts/{name}/acts`,
    summary: 'what people did to a rollout, oldest first',
    answer: RolloutActList,
  },
  {
    method: 'GET',
    path: `${OURS}/namespaces/{namespace}/rollouts/{name}/facts`,
    summary: 'what a rollout is planned from now, also as if its spec named another image or placement',
    query: ['image', 'placement'],
  },
  {
    method: 'GET',
    path: `${OURS}/report`,
    summary: 'what is proven of every site, and by which statement; with evidence=true the signed statements, too',
    query: ['evidence', 'cluster'],
  },
  {
    method: 'PUT',
    path: `${OCM}/v1beta1/namespaces/{namespace}/placements/{name}/approval`,
    summary: 'the removal of clusters that the placement holds may be carried out',
    query: ['dryRun'],
    body: { type: 'application/json', schema: RemovalApproval },
  },
  {
    method: 'GET',
    path: `${OCM}/v1beta1/namespaces/{namespace}/placements/{name}/why`,
    summary: 'why each cluster was or was not chosen, or one of them',
    query: ['cluster'],
  },
  {
    method: 'POST',
    path: `${OCM}/v1beta1/namespaces/{namespace}/placements/{name}/why`,
    summary: 'the same of the placement in the body, as if it were stored under that name; nothing is',
    query: ['cluster', 'fieldValidation'],
    body: { type: 'application/json', schema: objectSchema('Placement') },
  },
  {
    method: 'GET',
    path: `${OURS}/namespaces/{cluster}/edgenodes/{node}/statements`,
    summary: 'what a node said, as the texts it signed',
    query: ['incarnation', 'from'],
  },
  {
    method: 'GET',
    path: `${OURS}/namespaces/{cluster}/edgenodes/{node}/results`,
    summary: "the newest verdicts on a node's boots, each as the hub signed it (EAR)",
  },
  {
    method: 'GET',
    path: `${OCM}/v1/managedclusters/{name}/heard`,
    summary: 'when each node of a cluster was last heard from',
  },
  { method: 'GET', path: `${OURS}/apitokens`, summary: 'living API tokens, without their secrets' },
  {
    method: 'POST',
    path: `${OURS}/apitokens`,
    summary: 'make an API token; its secret is told here and nowhere else',
    query: ['dryRun'],
    body: { type: 'application/json', schema: NewApiToken },
  },
  { method: 'DELETE', path: `${OURS}/apitokens/{name}`, summary: 'revoke an API token', query: ['dryRun'] },
  {
    method: 'GET',
    path: `${OURS}/auditrecords`,
    summary: 'who changed what, oldest first, with the head of the chain',
    query: ['after', 'limit'],
  },
  { method: 'GET', path: `${OURS}/auditrecords/verdict`, summary: 'whether the chain of audit records holds' },
  {
    method: 'POST',
    path: '/agent/v1/registrations',
    summary: 'a node asks to belong',
    open: true,
    body: jws,
    answer: RegistrationChallenge,
  },
  {
    method: 'POST',
    path: '/agent/v1/registrations/{id}/proof',
    summary: 'a node proves its keys',
    open: true,
    body: jws,
    answer: RegistrationAnswer,
  },
  {
    method: 'GET',
    path: '/agent/v1/registrations/{id}',
    summary: 'where a registration stands',
    open: true,
    answer: RegistrationAnswer,
  },
  { method: 'GET', path: '/tuf/{path}', summary: 'a file of the TUF repository', open: true },
  { method: 'PUT', path: '/tuf/{path}', summary: 'signed metadata, or a target file', body: file },
  { method: 'GET', path: '/blobs/sha256/{sha256}', summary: "an image's bytes", open: true, type: BYTES },
  { method: 'PUT', path: '/blobs/sha256/{sha256}', summary: "store an image's bytes", body: file },
  {
    method: 'GET',
    path: '/blobs/sha256/{sha256}/digest',
    summary: 'the SHA-256 of what is stored, read from the disk',
  },
]
