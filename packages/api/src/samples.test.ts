import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import fc from 'fast-check'
import type { TSchema } from 'typebox'
import { describe, expect, test } from 'vitest'
import { jsonSchemas } from './schemas.ts'
import { causes, parse } from './validate.ts'

// One good sample of every kind and every wire document, with every member that it may have; and everything that is made
// of it by one fault.

const [A, B] = ['a'.repeat(64), 'b'.repeat(64)]
const ACT = '0b7e4d6e-6c0a-4a5c-9b57-0d6a4b1f2c3d'
const TIME = '2026-06-01T12:00:00Z'
const natsKey = `U${'A'.repeat(55)}`
const jwk = { kty: 'EC', crv: 'P-256', x: 'x'.repeat(43), y: 'y'.repeat(43) }
const jws = 'aaaa.bbbb.cccc'
const condition = {
  type: 'Ready',
  status: 'True',
  reason: 'Yes',
  message: 'm',
  lastTransitionTime: TIME,
  observedGeneration: 1,
}
const ref = { cluster: 'shop', node: 'n1', incarnation: 1, seq: 1, digest: A }
const position = { timeline: 0, generation: 1 }
const holds = { ...position, digest: A }
const selector = { matchLabels: { zone: 'n' }, matchExpressions: [{ key: 'zone', operator: 'In', values: ['n'] }] }
const failure = { imageSha256: A, outcome: 'RolledBack', reason: 'FellBack', message: 'm', at: TIME }
const window = { at: '0 2 * * *', timeZone: 'UTC', durationSeconds: 60 }
const blob = { sha256: A, length: 1, mediaType: 'a/b' }
const measured = {
  applications: { loaders: [A], uki: A, kernel: B },
  pcr9: A,
  pcr11: { phases: [{ phase: 'enter-initrd', value: A }] },
  pcr12: { on: A, off: B },
}
const base64 = 'AAAA'
const quote = {
  akPublic: base64,
  quote: base64,
  signature: base64,
  pcrs: { sha256: { 0: A }, sha384: { 7: A }, sha512: { 11: A } },
  eventLog: base64,
  eventLogSha256: A,
  measurementLog: base64,
}
const finding = {
  code: 'PcrMismatch',
  tier: 'contraindicated',
  message: 'm',
  pcr: 11,
  event: 3,
  expected: ['e'],
  actual: 'a',
}
const manifest = {
  kind: 'OSImageManifest',
  family: 'edge-os',
  version: '42',
  releaseCounter: 42,
  hardwareIds: ['x'],
  kubernetesVersion: '1.30',
  image: blob,
  blobs: [blob],
  boot: {
    kind: 'uki',
    stub: { vendor: 'systemd', version: '252.39' },
    sections: [{ name: '.linux', length: 1, sha256: A }],
    commandLine: 'panic=1',
    signers: [A],
    measured: { sha256: measured, sha384: measured, sha512: measured },
  },
  sbom: { sha256: A, length: 1 },
}
const profile = {
  hardwareIds: ['x'],
  tpm: { roots: ['pem'], inventory: [A] },
  banks: ['sha256'],
  firmware: [{ pcrs: { 0: A }, note: 'n' }],
  learn: 'quorum',
  quorum: 2,
  secureBoot: { pk: base64, kek: base64, db: base64, dbx: [base64] },
  allowed: ['NoExitBootServices'],
}
const hubKeys = [{ jwk, notBefore: TIME, notAfter: TIME }]
const hub = {
  kind: 'HubDescription',
  keys: { desiredState: hubKeys, ack: hubKeys, acceptance: hubKeys, result: hubKeys },
  caPem: 'pem',
  apiUrls: ['https://hub.example'],
  natsUrls: ['tls://hub.example'],
}
const node = { cluster: 'shop', node: 'n1', incarnation: 1 }
const statement = {
  ...node,
  seq: 1,
  prev: A,
  marker: B,
  time: { wall: TIME, tpmClock: 1, resetCount: 1, restartCount: 1, safe: true },
}
const OCM = 'cluster.open-cluster-management.io'
const metadata = {
  name: 'shop-1',
  generateName: 'shop-',
  namespace: 'fleet',
  uid: 'u',
  resourceVersion: '1',
  generation: 1,
  creationTimestamp: TIME,
  deletionTimestamp: TIME,
  labels: { 'example.com/zone': 'n' },
  annotations: { 'example.com/note': 'n' },
  finalizers: ['f'],
  managedFields: [{}],
  ownerReferences: [{ apiVersion: 'v1', kind: 'K', name: 'n', uid: 'u', controller: true, blockOwnerDeletion: true }],
}
const object = (kind: string, apiVersion: string, more: object) => ({ apiVersion, kind, metadata, ...more })
const ours = (kind: string, more: object) => object(kind, 'skerry.dev/v1alpha1', more)

const SAMPLES: Record<string, object> = {
  ManagedCluster: object('ManagedCluster', `${OCM}/v1`, {
    spec: {
      hubAcceptsClient: true,
      leaseDurationSeconds: 60,
      taints: [{ key: 'k', value: 'v', effect: 'NoSelect', timeAdded: TIME }],
      managedClusterClientConfigs: [{ url: 'u', caBundle: 'c' }],
    },
    status: {
      conditions: [condition],
      clusterClaims: [{ name: 'n', value: 'v' }],
      capacity: { cpu: '1' },
      allocatable: { cpu: 1 },
      version: { kubernetes: '1.30' },
    },
  }),
  ManagedClusterSet: object('ManagedClusterSet', `${OCM}/v1beta2`, {
    spec: { clusterSelector: { selectorType: 'LabelSelector', labelSelector: selector } },
    status: { conditions: [condition] },
  }),
  ManagedClusterSetBinding: object('ManagedClusterSetBinding', `${OCM}/v1beta2`, {
    spec: { clusterSet: 'shops' },
    status: { conditions: [condition] },
  }),
  Placement: object('Placement', `${OCM}/v1beta1`, {
    spec: {
      clusterSets: ['shops'],
      numberOfClusters: 3,
      predicates: [
        {
          requiredClusterSelector: {
            labelSelector: selector,
            claimSelector: { matchExpressions: [{ key: 'k', operator: 'Exists' }] },
            celSelector: { celExpressions: ['true'] },
          },
        },
      ],
      tolerations: [{ key: 'k', operator: 'Equal', value: 'v', effect: 'NoSelect', tolerationSeconds: 1 }],
      prioritizerPolicy: {
        mode: 'Additive',
        configurations: [
          { scoreCoordinate: { type: 'BuiltIn', builtIn: 'Balance' }, weight: -10 },
          { scoreCoordinate: { type: 'AddOn', addOn: { resourceName: 'usage', scoreName: 'free' } }, weight: 10 },
        ],
      },
      spreadPolicy: {
        spreadConstraints: [
          { topologyKey: 'k', topologyKeyType: 'Claim', maxSkew: 2, whenUnsatisfiable: 'DoNotSchedule' },
        ],
      },
      decisionStrategy: {
        groupStrategy: {
          decisionGroups: [
            {
              groupName: 'canary',
              groupClusterSelector: {
                labelSelector: selector,
                claimSelector: { matchExpressions: [{ key: 'k', operator: 'Exists' }] },
              },
            },
          ],
          clustersPerDecisionGroup: '25%',
        },
      },
      sortBy: 'Score',
      scoreRateLimit: '30s',
    },
    status: {
      observedGeneration: 1,
      lastScoreUpdateTime: TIME,
      heldRemoval: { hash: A, count: 1, of: 2, sample: ['shop'], recent: 1, until: TIME },
      recentRemovals: [{ at: TIME, of: 3, count: 1, clusters: ['shop'] }],
      numberOfSelectedClusters: 1,
      decisionGroups: [{ decisionGroupIndex: 0, decisionGroupName: '', decisions: ['p-decision-1'], clusterCount: 1 }],
      conditions: [condition],
    },
  }),
  PlacementDecision: object('PlacementDecision', `${OCM}/v1beta1`, {
    status: { decisions: [{ clusterName: 'shop', reason: 'Selected', score: 1 }] },
  }),
  AddOnPlacementScore: object('AddOnPlacementScore', `${OCM}/v1alpha1`, {
    status: { conditions: [condition], validUntil: TIME, scores: [{ name: 'free', value: -100 }] },
  }),
  EdgeNode: ours('EdgeNode', {
    status: {
      class: 'software-key',
      driver: 'slots',
      phase: 'Idle',
      reason: 'r',
      message: 'm',
      image: { sha256: A, name: 'n', version: '1' },
      slot: 'a',
      bootId: 'b',
      holds: position,
      nextWindow: TIME,
      failed: [failure],
      attestation: {
        verdict: 'warning',
        reason: 'r',
        message: 'm',
        bootId: 'b',
        judgedAt: TIME,
        bank: 'sha256',
        findings: [finding],
        pcrs: [{ pcr: 11, actual: A, expected: [A], by: 'manifest', ok: true }],
        statement: ref,
      },
      reachability: 'Online',
      lastTransitionTime: TIME,
      statement: ref,
      watermark: 1,
      agentVersion: '1',
    },
  }),
  OSImage: ours('OSImage', {
    spec: {
      target: 't',
      manifestSha256: A,
      family: 'f',
      version: '1',
      releaseCounter: 1,
      hardwareIds: ['x'],
      image: blob,
      boot: { kind: 'none' },
      signers: ['s'],
    },
    status: { nodesRunning: 1, nodesFailed: 1 },
  }),
  HardwareProfile: ours('HardwareProfile', {
    spec: { target: 't', profileSha256: A, signers: ['s'], ...profile },
  }),
  Rollout: ours('Rollout', {
    spec: {
      placementRef: { name: 'p' },
      image: { name: 'i' },
      windows: { activation: [window] },
      waves: [{ startAfter: '1h30m', percent: 100, spread: '4h' }],
      gates: { healthySeconds: 1, timeoutSeconds: 1 },
      attestation: 'warning',
      semantics: 'Skerry',
      strategy: {
        type: 'Progressive',
        all: { progressDeadline: '1h' },
        progressive: { maxConcurrency: '10%', maxFailures: 1, minSuccessTime: '1h30m', progressDeadline: 'None' },
      },
      approvals: { start: 1, betweenGroups: 2, completion: 1, expireAfter: '24h', fourEyes: false },
    },
    status: {
      phase: 'Running',
      observedGeneration: 1,
      image: { target: 't', manifestSha256: A, imageSha256: B, releaseCounter: 1, version: '1' },
      firstSent: { manifestSha256: A, at: TIME },
      clusters: [
        {
          name: 'shop',
          state: 'Soaking',
          reason: 'r',
          message: 'm',
          since: TIME,
          assignedAt: TIME,
          position,
          deliveredAt: TIME,
          waveAt: TIME,
          waitedSeconds: 1,
          recheckAt: TIME,
          statement: ref,
        },
      ],
      counts: { total: 1, succeeded: 0, failed: 0, rolledBack: 0, inProgress: 1, deferred: 0, notStarted: 0 },
      recheckAt: TIME,
      startedAt: TIME,
      completedAt: TIME,
      conditions: [condition],
    },
  }),
  JoinToken: ours('JoinToken', {
    spec: {
      secretSha256: A,
      expiresAt: TIME,
      maxUses: 1,
      clusterSet: 's',
      cluster: 'shop',
      classes: ['software-key'],
      acceptance: 'Manual',
    },
    status: { uses: 1, lastUsedAt: TIME },
  }),
  Registration: ours('Registration', {
    spec: {
      nodeName: 'n',
      class: 'tpm',
      keysDigest: A,
      nodeKeyThumbprint: 't',
      natsKey,
      fingerprint: 'f',
      joinToken: 't',
      hardwareId: 'x',
      tpm: {
        ekSha256: A,
        akName: '000b',
        endorsedBy: 'e',
        profile: 'p',
        firstBoot: { verdict: 'affirming', reason: 'r', message: 'm' },
      },
      claims: { k: 'v' },
      rotatedAt: TIME,
      decision: { state: 'Accepted', by: 'me', at: TIME, reason: 'r' },
    },
    status: {
      state: 'Accepted',
      reason: 'r',
      message: 'm',
      incarnation: 1,
      credentialExpiresAt: TIME,
    },
  }),
  Event: ours('Event', {
    spec: {
      type: 'Normal',
      reason: 'R',
      message: 'm',
      component: 'c',
      regarding: { kind: 'K', namespace: 'ns', name: 'n' },
      eventTime: TIME,
    },
  }),
  DesiredState: {
    kind: 'DesiredState',
    cluster: 'shop',
    ...position,
    issuedAt: TIME,
    image: { target: 't', sha256: A, rollout: 'fleet/r' },
    windows: { activation: [window] },
    waves: { startsAt: TIME, schedule: [{ startAfterSeconds: 1, spreadSeconds: 1, percent: 100 }] },
    gates: { healthySeconds: 1, timeoutSeconds: 1 },
    drain: { timeoutSeconds: 1 },
    budget: { maxUnavailable: 1 },
    onFailure: 'RollBack',
    attestation: 'warning',
    paused: false,
    retry: { imageSha256: B, act: ACT },
    works: [{ name: 'w', sha256: A }],
    tombstones: [{ name: 'w', generation: 1 }],
  },
  Ack: { kind: 'Ack', ...node, watermark: 1, marker: jws },
  EpochMarker: { kind: 'EpochMarker', number: 1, time: TIME },
  Acceptance: {
    kind: 'Acceptance',
    ...node,
    class: 'tpm',
    ekSha256: A,
    akName: 'ak',
    nodeKeyThumbprint: 't',
    natsKey,
    routingToken: 'a'.repeat(16),
    transcript: A,
    decidedBy: 'me',
    decidedAt: TIME,
  },
  StatementBatch: { kind: 'StatementBatch', ...node, statements: ['{}'] },
  NodeStatus: {
    kind: 'NodeStatus',
    ...node,
    counter: 1,
    seq: 1,
    digest: A,
    at: TIME,
    phase: 'Staging',
    reason: 'r',
    message: 'm',
    progress: { done: 1, total: 2 },
    booted: { imageSha256: A, version: '1' },
    slot: 'a',
    bootId: 'b',
    driver: 'slots',
    holds,
    tuf: { root: 1, timestamp: 1, snapshot: 1, targets: 1 },
    failed: [failure],
    nextWindow: TIME,
    agentVersion: '1',
  },
  Heartbeat: { kind: 'Heartbeat', ...node, seq: 1, digest: A },
  RegistrationRequest: {
    kind: 'RegistrationRequest',
    token: 'id.secret',
    cluster: 'shop',
    nodeName: 'n',
    class: 'tpm',
    ekCertificates: ['AAAA'],
    ek: 'AAAA',
    ak: 'AAAA',
    nodeKey: jwk,
    natsKey,
    hardwareId: 'x',
    claims: { k: 'v' },
    acceptHub: A,
    agentVersion: '1',
    incarnation: 1,
  },
  RegistrationProof: { kind: 'RegistrationProof', id: A, nonce: B, transcript: A, tpm: { secret: A, quote } },
  AttestationResult: {
    kind: 'AttestationResult',
    eat_profile: 'tag:skerry.dev,2026:ear',
    iat: 1,
    'ear.verifier-id': { developer: 'd', build: 'b' },
    eat_nonce: A,
    submods: {
      'shop/n1': {
        'ear.status': 'affirming',
        'ear.trustworthiness-vector': {
          'instance-identity': 2,
          configuration: 2,
          executables: 3,
          hardware: 2,
          'storage-opaque': 2,
        },
        'ear.appraisal-policy-id': A,
        'skerry.statement': { incarnation: 1, seq: 1, digest: A },
        'skerry.boot': { bootId: 'b', imageSha256: A },
        'skerry.bank': 'sha256',
        'skerry.findings': [finding],
      },
    },
  },
  HardwareProfileTarget: { kind: 'HardwareProfile', name: 'shop-box', ...profile },
  RolloutAct: {
    id: ACT,
    verb: 'approve',
    by: 'me',
    at: TIME,
    reason: 'r',
    rolloutUid: 'u',
    manifestSha256: A,
    gate: 'Group/1',
    clusters: ['shop'],
    expiresAt: TIME,
  },
  OSImageManifest: manifest,
  HubDescription: hub,
  HubIntroduction: { kind: 'HubIntroduction', hub, tuf: { snapshot: jwk, timestamp: jwk } },
  Statement: {
    kind: 'transition',
    ...statement,
    body: {
      from: 'Idle',
      to: 'Preflight',
      reason: 'r',
      message: 'm',
      position,
      manifestSha256: A,
      imageSha256: B,
      slot: 'a',
      bootId: 'b',
      outcome: 'RolledBack',
    },
  },
  RegistrationChallenge: {
    kind: 'RegistrationChallenge',
    id: A,
    nonce: B,
    tpm: { idObject: base64, encryptedSecret: base64, bank: 'sha256', pcrs: [0, 7] },
    expiresAt: TIME,
  },
  RegistrationAnswer: {
    kind: 'RegistrationAnswer',
    id: A,
    state: 'Accepted',
    reason: 'r',
    message: 'm',
    fingerprint: 'f',
    acceptance: jws,
    natsJwt: 'j',
  },
  SiteBundle: {
    kind: 'SiteBundle',
    acceptHub: A,
    root: '{}',
    hubUrls: ['https://hub.example'],
    caPem: 'pem',
    token: 'id.secret',
  },
  ComplianceReport: {
    kind: 'ComplianceReport',
    apiVersion: 'skerry.dev/v1alpha1',
    only: ['shop'],
    asOf: TIME,
    totals: { pass: 1, fail: 0, 'not-assessed': 0 },
    clusters: [
      {
        cluster: 'shop',
        reachability: 'Online',
        result: 'pass',
        assigned: { image: 'os-1', imageSha256: A, rollout: 'fleet/r' },
        nodes: [
          {
            node: 'n1',
            class: 'software-key',
            limitation: 'l',
            hubSays: {
              incarnation: 1,
              lastHeardAt: TIME,
              watermark: 1,
              newestSeq: 1,
              verdict: { seq: 1, bootId: 'b', verdict: 'warning', reason: 'r' },
            },
            claims: [{ claim: 'HeardFrom', result: 'pass', message: 'm', statements: [ref] }],
          },
        ],
      },
    ],
    evidence: [
      {
        ...node,
        nodeKey: jwk,
        registration: { transcript: A, proof: jws, acceptedBy: 'me', acceptedAt: TIME },
        batches: [{ first: 1, last: 1, header: 'aa', signature: 'bb', payload: '{}' }],
        statements: [{ seq: 1, text: '{}' }],
      },
    ],
  },
}
const BODIES: Record<string, object> = {
  evidence: { ...quote, class: 'tpm', bootId: 'b', slot: 'a', imageSha256: A, nonce: B },
  accepted: holds,
  refused: { document: 'DesiredState', code: 'BadSignature', message: 'm', digest: A, position },
  gap: { fromSeq: 1, toSeq: 2, reason: 'Compacted' },
}

const nameless = (schema: object): TSchema =>
  Object.fromEntries(Object.entries(schema).filter(([member]) => !member.startsWith('$')))
// Without their names: this package's own validator judges schemas, not files.
const SCHEMAS: Record<string, TSchema> = Object.fromEntries(
  Object.entries(jsonSchemas()).map(([name, schema]) => [name, nameless(schema)]),
)
const all: [string, TSchema, object][] = Object.entries(SCHEMAS).map(([name, schema]) => [
  name,
  schema,
  SAMPLES[name] ?? {},
])
for (const [kind, body] of Object.entries(BODIES))
  all.push([`Statement (${kind})`, SCHEMAS['Statement'] as TSchema, { kind, ...statement, body }])

/** Every value made of `value` by one fault, with the path at which it must be named. `free`: members of any name are right there. */
type Fault = { what: string; path: string; value: unknown }
const FREE = new Set([
  'labels',
  'annotations',
  'matchLabels',
  'capacity',
  'allocatable',
  'claims',
  'managedFields',
  'submods',
])
function* faults(value: unknown, path = '', at = ''): Generator<Fault> {
  // A number is shown as a place, also where it is a name (a PCR).
  const join = (member: string) =>
    path === '' ? member : /^\d+$/.test(member) ? `${path}[${member}]` : `${path}.${member}`
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries())
      for (const fault of faults(item, `${path}[${i}]`, at)) yield { ...fault, value: value.with(i, fault.value) }
    yield { what: 'an object for a list', path, value: {} }
    return
  }
  if (typeof value === 'object' && value !== null) {
    for (const [member, inner] of Object.entries(value)) {
      if (member === 'managedFields') continue
      for (const fault of faults(inner, join(member), member))
        yield { ...fault, value: { ...value, [member]: fault.value } }
    }
    if (!FREE.has(at)) yield { what: 'an unknown member', path: join('surprise'), value: { ...value, surprise: 1 } }
    if (path !== '') yield { what: 'a text for an object', path, value: 'x' }
    return
  }
  yield { what: 'an object for a value', path, value: {} }
  if (typeof value === 'number') {
    yield { what: 'a number past 2^53', path, value: 2 ** 53 }
    yield { what: 'a fraction', path, value: 1.5 }
  }
  if (typeof value === 'boolean') yield { what: 'a text for a boolean', path, value: 'true' }
  if (value === TIME)
    for (const bad of ['yesterday', '2026-06-01T12:00:00+02:00', '2026-13-01T00:00:00Z'])
      yield { what: `the time ${bad}`, path, value: bad }
  if (value === A || value === B)
    for (const bad of [`${A}a`, A.slice(1), A.toUpperCase(), `${A.slice(1)}\n`])
      yield { what: `the digest ${bad.slice(-4)}`, path, value: bad }
  if (['cluster', 'node'].includes(at))
    for (const bad of ['', 'A', 'a.b', 'a*', '>', '-a', 'a-', 'a'.repeat(64), 'a\n'])
      yield { what: `the label ${JSON.stringify(bad)}`, path, value: bad }
}
// A reference in a status is shown, not obeyed: its members are plain texts. Quantities may be numbers, and any.
const LOOSE = /statement\.(cluster|node|digest)$|\.(capacity|allocatable)\.|keysDigest$/

describe.each(all)('%s', (name, schema, sample) => {
  test('a full good sample is taken as it is', () => {
    expect(parse(schema, structuredClone(sample), name)).toEqual(sample)
  })

  test('every single fault, at every depth, is refused at its exact path', () => {
    const seen = [...faults(sample)].filter(({ path, what }) => !(LOOSE.test(path) && !/object/.test(what)))
    expect(seen.length).toBeGreaterThan(5)
    const missed = seen
      .map((fault) => ({ ...fault, found: causes(schema, fault.value).map(({ field }) => field) }))
      .filter(({ found, path }) => !found.includes(path))
      .map(({ what, path, found }) => `${what} at "${path}" was seen at ${JSON.stringify(found)}`)
    expect(missed).toEqual([])
  })

  test('every member that must be there is missed at its exact path', () => {
    const missed: string[] = []
    for (const [path, without] of removals(sample)) {
      const found = causes(schema, without)
      if (found.length > 0 && !found.some(({ field }) => field === path))
        missed.push(`${path}: ${JSON.stringify(found)}`)
    }
    expect(missed).toEqual([])
    const { required = [] } = schema as { required?: string[] }
    for (const member of required) {
      const { [member]: _, ...rest } = sample as Record<string, unknown>
      expect(causes(schema, rest)).toContainEqual(expect.objectContaining({ field: member }))
    }
  })
})

function* removals(value: unknown, path = ''): Generator<[string, unknown]> {
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries())
      for (const [at, rest] of removals(item, `${path}[${i}]`)) yield [at, value.with(i, rest)]
  } else if (typeof value === 'object' && value !== null) {
    for (const [member, inner] of Object.entries(value)) {
      const at = path === '' ? member : /^\d+$/.test(member) ? `${path}[${member}]` : `${path}.${member}`
      const { [member]: _, ...rest } = value as Record<string, unknown>
      yield [at, rest]
      for (const [deeper, changed] of removals(inner, at)) yield [deeper, { ...value, [member]: changed }]
    }
  }
}

describe('all of them', () => {
  test('every schema has a sample, and every sample a schema', () => {
    expect(Object.keys(SAMPLES).toSorted()).toEqual(Object.keys(SCHEMAS).toSorted())
  })

  test.each([
    ['labels', { 'has space': 'v' }],
    ['labels', { '-a': 'v' }],
    ['labels', { 'a/b/c': 'v' }],
    ['labels', { 'a\nb': 'v' }],
    ['annotations', { '/x': 'v' }],
  ])('metadata.%s %j: the name is refused', (member, bad) => {
    const cluster = SAMPLES['ManagedCluster'] as { metadata: object }
    const [found] = causes(SCHEMAS['ManagedCluster'] as TSchema, {
      ...cluster,
      metadata: { ...cluster.metadata, [member]: bad },
    })
    expect(found).toMatchObject({
      field: `metadata.${member}.${Object.keys(bad)[0]}`,
      message: expect.stringContaining('has a name that'),
    })
  })

  test('of a number or a text of some form, a text is held against the form', () => {
    const groupStrategy = { clustersPerDecisionGroup: '101%' }
    const placement = { ...SAMPLES['Placement'], spec: { decisionStrategy: { groupStrategy } } }
    expect(causes(SCHEMAS['Placement'] as TSchema, placement)).toMatchObject([
      {
        field: 'spec.decisionStrategy.groupStrategy.clustersPerDecisionGroup',
        message: expect.stringContaining('must match pattern'),
      },
    ])
  })

  test('a label value is one, and a value under any name is looked at', () => {
    const cluster = SAMPLES['ManagedCluster'] as { metadata: object }
    for (const labels of [{ zone: 'has space' }, { zone: 'x'.repeat(64) }, { zone: 1 }])
      expect(
        causes(SCHEMAS['ManagedCluster'] as TSchema, { ...cluster, metadata: { ...cluster.metadata, labels } }),
      ).toMatchObject([{ field: 'metadata.labels.zone' }])
    expect(
      causes(SCHEMAS['RegistrationRequest'] as TSchema, { ...SAMPLES['RegistrationRequest'], claims: { 'a\nb': {} } }),
    ).toMatchObject([{ field: 'claims.a\nb' }])
  })

  test('they are JSON Schema, draft 2020-12, and judge as this package does', () => {
    // ajv-formats is CommonJS: under NodeNext its default export is the module object.
    const addFormats = formats as unknown as typeof formats.default
    const ajv = addFormats(
      new Ajv2020({
        strict: true,
        strictTypes: false,
        strictRequired: false,
        discriminator: true,
        allErrors: true,
      }) as never,
    )
    const emitted = JSON.parse(JSON.stringify(jsonSchemas())) as Record<string, object>
    for (const [name, schema] of Object.entries(emitted)) {
      expect(ajv.validateSchema(schema), name).toBe(true)
      const validate = ajv.compile(schema)
      expect(validate(SAMPLES[name]), `${name}: ${ajv.errorsText(validate.errors)}`).toBe(true)
      expect(validate({ ...SAMPLES[name], surprise: 1 }), name).toBe(false)
    }
  })

  test('parse gives a value or a Refusal, whatever it is given', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...all),
        fc.anything({ withNullPrototype: true, withBigInt: true, withSparseArray: true }),
        ([name, schema], value) => {
          try {
            parse(schema, value, name)
          } catch (error) {
            expect(error).toMatchObject({ name: 'Refusal', code: 'InvalidField' })
          }
        },
      ),
    )
  })
})
