import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse, SiteBundle } from '@skerry/api'
import { buildImage, eventually, HARDWARE_ID, type Image, type Program, startAgent } from '@skerry/demo'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse as parseYaml } from 'yaml'
import { KUBECTL, openRelay, openWorld, type World } from './test-world.ts'

// The command as people use it, on a real hub with a real site: one life of a small fleet, told in order.

const SITE = 'shop-17'
const AGENT = fileURLToPath(new URL('../../../spoke-agent/src/main.ts', import.meta.url))
let world: World
let agent: Program | undefined
let images: Image[]

beforeAll(async () => {
  world = await openWorld()
  world.write('introduction.json', JSON.stringify(world.introduced))
  world.write('ca.pem', world.hub.caPem)
  images = ['1', '2'].map((version) => buildImage(world.path('images'), version, { healthy: true }))
})
afterAll(async () => {
  await agent?.stop()
  await world?.close()
})

const mode = (file: string) => statSync(world.path(file)).mode & 0o777
const read = (file: string) => readFileSync(world.path(file), 'utf8')

/** Runs the command; a failure is told with what it printed. */
async function ok(...args: string[]): Promise<string> {
  const { code, out, err } = await world.run(args)
  if (code !== 0) throw new Error(`skerry ${args.join(' ')} ended with ${code}:\n${err}${out}`)
  return out
}
async function items(...args: string[]): Promise<{ metadata: { name: string }; status?: Record<string, unknown> }[]> {
  return (JSON.parse(await ok(...args, '-o', 'json')) as { items: never[] }).items
}

describe('which hub', () => {
  test('no context is an error that says how to get one', async () => {
    expect(await world.run(['get', 'clusters'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('skerry login --server'),
    })
  })

  test('login takes only a token that the hub takes, and keeps it to its owner', async () => {
    const login = ['login', '--server', world.hub.apiUrl, '--ca', 'ca.pem', '--context', 'test']
    const wrong = await world.run([...login, '--token', 'a-token-nobody-has-made'])
    expect(wrong).toMatchObject({ code: 1, err: expect.stringMatching(/^skerry: .*token/) })
    expect(existsSync(world.path('config.yaml'))).toBe(false)
    const right = await world.run([...login, '--token', '-'], { stdin: `${world.hub.adminToken}\n` })
    expect(right).toMatchObject({ code: 0, out: 'context test is used from now on\n' })
    expect(mode('config.yaml')).toBe(0o600)
    expect(await ok('context', 'list')).toMatch(/^CURRENT +NAME +SERVER.*\n\* +test +https:/)
    expect(await ok('version')).toMatch(/^skerry 0\.1\.0\nhub .*skerry/)
  })

  test('an address where nobody answers ends with 5, and no stored token goes there', async () => {
    const token = ['--token', 'a-token-nobody-has-made']
    expect(await world.run(['get', 'clusters', '--server', 'https://127.0.0.1:1', ...token])).toMatchObject({
      code: 5,
      out: '',
    })
    expect(await world.run(['get', 'clusters', '--server', 'https://127.0.0.1:1'])).toMatchObject({ code: 2 })
  })
})

describe('the signers', () => {
  const manifest = (version: string) => [
    ...['image', 'manifest', `images/edge-os-${version}.mjs`, '--family', 'edge-os', '--version', version],
    ...['--release-counter', version, '--hardware-id', HARDWARE_ID, '--out', `${version}.json`],
  ]
  const offline = async (...args: string[]) => {
    const ran = await world.run(args, { offline: true })
    expect(ran, ran.err).toMatchObject({ code: 0 })
    return ran.out
  }

  test('make keys and root without a network', async () => {
    const init = ['trust', 'init', '--introduction', 'introduction.json', '--out', 'trust']
    const names = ['alice', 'bert', 'carla'].flatMap((name) => ['--name', name])
    expect(await offline(...init, ...names)).toContain('2 of alice, bert, carla')
    expect(mode('trust/keys/alice.targets.pem')).toBe(0o600)
    expect(await world.run([...init, ...names])).toMatchObject({
      code: 1,
      err: expect.stringContaining('a root is made once'),
    })
    // The guard itself: what needs the hub cannot be done under it.
    expect(await world.run(['get', 'clusters'], { offline: true })).not.toMatchObject({ code: 0 })
  })

  test('sign one after the other, each on a machine of their own', async () => {
    await offline(...manifest('1'))
    expect(await offline('image', 'sign', '1.json', '--trust', 'trust', '--key', 'alice')).toContain(
      'release 1: 1 of 2 signatures (alice); one of bert, carla still has to sign',
    )
    const early = await world.run(['image', 'publish', '--trust', 'trust', '--image', 'images/edge-os-1.mjs'])
    expect(early).toMatchObject({ code: 1, err: expect.stringContaining('nothing was published: release 1: 1 of 2') })
    cpSync(world.path('trust'), world.path('at-berts'), { recursive: true })
    for (const name of ['alice', 'carla']) rmSync(world.path(`at-berts/keys/${name}.targets.pem`))
    expect(await world.run(['image', 'sign', '--trust', 'at-berts', '--key', 'alice'])).toMatchObject({ code: 2 })
    expect(await offline('image', 'sign', '--trust', 'at-berts', '--key', 'bert')).toContain(
      '2 of 2 signatures (alice, bert)',
    )
    expect(await offline('trust', 'status', '--trust', 'at-berts')).toMatch(/bert +root, targets\n *carla +root\n/)
  })

  test('publish, and the image is there; once more is harmless', async () => {
    const publish = ['image', 'publish', '--trust', 'at-berts', '--image', 'images/edge-os-1.mjs']
    expect(await ok(...publish)).toContain('published release 1')
    expect(await ok(...publish)).toBe('the hub has all of it already\n')
    const [blob = ''] = readdirSync(world.path('hub/blobs'))
    writeFileSync(world.path(`hub/blobs/${blob}`), 'what a bad disk made of it')
    expect(await ok(...publish)).toBe(
      `the hub's copy of images/edge-os-1.mjs (sha256 ${blob}) was damaged, and is whole again\n`,
    )
    expect(await ok(...publish)).toBe('the hub has all of it already\n')
    expect(await ok('get', 'images', '-o', 'name')).toBe('osimage.skerry.dev/edge-os-1\n')
    const stranger = await world.run([...publish, '--image', 'images/edge-os-2.mjs'])
    expect(stranger).toMatchObject({ code: 2, err: expect.stringContaining('no signed manifest names its bytes') })
  })

  test('a hardware profile is signed like a manifest; one whose lists are none is not', async () => {
    const profile = { kind: 'HardwareProfile', name: 'shop-box', hardwareIds: ['shop-box'], banks: ['sha256'] }
    const more = { tpm: { roots: [], inventory: [] }, firmware: [], learn: 'tofu' }
    writeFileSync(world.path('box.json'), JSON.stringify({ ...profile, ...more }))
    const lists = { pk: 'AAAA', kek: '', db: '', dbx: [''] }
    writeFileSync(world.path('bad.json'), JSON.stringify({ ...profile, ...more, secureBoot: lists }))
    cpSync(world.path('at-berts'), world.path('aside'), { recursive: true })
    cpSync(world.path('trust/keys'), world.path('aside/keys'), { recursive: true })
    const bad = await world.run(['image', 'sign', 'bad.json', '--trust', 'aside', '--key', 'alice'], { offline: true })
    expect(bad).toMatchObject({ code: 2, err: expect.stringContaining('bad.json: secureBoot.pk: ') })
    expect(await offline('image', 'sign', 'box.json', '--trust', 'aside', '--key', 'alice')).toContain(
      '  hardware/shop-box.json  sha256 ',
    )
  })

  test('publish the next release on top, and anybody can verify it as a site does', async () => {
    await offline(...manifest('2'))
    await offline(
      'image',
      'sign',
      '2.json',
      '--trust',
      'at-berts',
      '--key',
      'bert',
      '--key',
      'trust/keys/carla.targets.pem',
    )
    await ok('image', 'publish', '--trust', 'at-berts', '--image', 'images/edge-os-2.mjs')
    const verify = ['image', 'verify', 'edge-os-2', '--root', 'trust/1.root.json', '--image']
    expect(await ok(...verify, 'images/edge-os-2.mjs')).toContain('images/edge-os-2.mjs is this image')
    expect(await world.run([...verify, 'images/edge-os-1.mjs'])).toMatchObject({ code: 1 })
  })

  test('who comes with another root is told whose is which, and what can be done', async () => {
    await offline('trust', 'init', '--introduction', 'introduction.json', '--out', 'strangers')
    await offline('image', 'sign', '1.json', '--trust', 'strangers', '--key', 'signer-1', '--key', 'signer-2')
    const [hubs, theirs] = await Promise.all(
      ['trust', 'strangers'].map(
        async (folder) => /[0-9a-f]{64}/.exec(await offline('trust', 'status', '--trust', folder))?.[0],
      ),
    )
    const token = ['join-token', 'create', '--class', 'software-key', '--bundle', 'b.json']
    for (const [args, code, what] of [
      [['image', 'publish', '--trust', 'strangers'], 4, 'nothing was published'],
      [['image', 'verify', 'edge-os-2', '--trust', 'strangers'], 1, 'nothing was verified'],
      [[...token, '--trust', 'strangers'], 1, 'no token was made'],
    ] as const) {
      const ran = await world.run(args)
      expect(ran).toMatchObject({ code, out: '' })
      expect(ran.err).toContain(`${what}: this hub follows another root 1 for ever: thumbprint ${hubs}, not ${theirs}`)
      expect(ran.err).toContain('"skerry trust status --trust FOLDER"')
    }
  })

  test('who signed another release under a published version is told so', async () => {
    await offline('image', 'sign', '2.json', '--trust', 'trust', '--key', 'alice', '--key', 'carla')
    const late = await world.run(['image', 'publish', '--trust', 'trust'])
    expect(late).toMatchObject({ code: 4, err: expect.stringMatching(/another release 1: .*skerry image sign/) })
  })
})

describe('a site joins', () => {
  const create = ['join-token', 'create', SITE, '--ttl', '24h', '--uses', '1', '--class', 'software-key']

  test('with a bundle; whom it will believe is confirmed or said aloud', async () => {
    const thumbprint = /thumbprint: +([0-9a-f]{64})/i.exec(await ok('trust', 'status', '--trust', 'trust'))?.[1] ?? ''
    const wrong = await world.run([...create, '--bundle', 'bundle.json', '--accept-hub', '0'.repeat(64)])
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining(thumbprint) })
    expect((await world.run(['join-token', 'list'])).err).toBe('No resources found\n')
    const { code, out, err } = await world.run([...create, '--bundle', 'bundle.json'])
    expect(code, err).toBe(0)
    expect(err).toContain(thumbprint)
    const bundle = parse(SiteBundle, JSON.parse(read('bundle.json')), 'bundle')
    expect(bundle).toMatchObject({ acceptHub: thumbprint, hubUrls: [world.hub.apiUrl], token: out.trim() })
    expect(mode('bundle.json')).toBe(0o600)
    expect(await ok('join-token', 'list')).toMatch(/shop-17 +0\/1 +Manual +software-key/)
  })

  test('and is accepted by a person who compared the fingerprint', async () => {
    agent = startAgent({
      name: SITE,
      dir: world.path('site'),
      bundle: parse(SiteBundle, JSON.parse(read('bundle.json')), 'bundle'),
      factoryImage: images[0]?.file ?? '',
      args: ['--heartbeat-seconds', '1', '--claim', 'kind=shop'],
    })
    const { spec } = await eventually(
      async () => (await world.hub.client.list('Registration'))[0],
      'the registration',
      120_000,
    )
    expect(await ok('get', 'registrations')).toMatch(
      new RegExp(`shop-17 +shop-17 +Pending +software-key +${spec.fingerprint}`),
    )
    const who = `waiting: shop-17/shop-17 (${spec.fingerprint})\n`
    for (const [args, says] of [
      [[SITE, '--fingerprint', '0000-0000-0000-0000'], `has fingerprint 0000-0000-0000-0000; ${who}`],
      [[SITE, '--node', 'shop-18'], `no registration of node shop-18 waits; ${who}`],
      [['shop-71'], `there is no cluster "shop-71" (did you mean "shop-17"?); ${who}`],
    ] as const)
      expect(await world.run(['cluster', 'accept', ...args])).toMatchObject({
        code: 3,
        out: '',
        err: expect.stringContaining(says),
      })
    expect((await world.hub.client.get('ManagedCluster', undefined, SITE)).spec.hubAcceptsClient).not.toBe(true)
    expect(await ok('cluster', 'accept', SITE, '--fingerprint', spec.fingerprint)).toContain(
      `node shop-17 of shop-17, class software-key, fingerprint ${spec.fingerprint}: accepted`,
    )
    expect(await ok('wait', 'cluster', SITE, '--for=condition=ManagedClusterJoined', '--timeout', '120s')).toContain(
      'condition met',
    )
    await ok('wait', 'cluster', SITE, '--for=condition=Reachable', '--timeout', '120s')
    expect(await ok('cluster', 'accept', SITE)).toMatch(
      /"?shop-17"? was accepted already; no registration waits: shop-17\/shop-17 was accepted by admin\n$/,
    )
    expect((await world.run(['cluster', 'accept', 'nowhere'])).err).toContain('no registration waits')
  })
})

describe('manifests', () => {
  const FLEET = `# OCM's own YAML goes in as it is.
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: { name: default, namespace: fleet }
spec: { clusterSet: default }
---
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata:
  name: all-shops
  namespace: fleet
  creationTimestamp: null
  labels: { team: edge, tier: prod }
spec:
  predicates:
    - requiredClusterSelector:
        claimSelector:
          matchExpressions:
            - { key: kind, operator: In, values: [shop] }
status: {}
`
  const ROLLOUT = JSON.stringify({
    apiVersion: 'skerry.dev/v1alpha1',
    kind: 'Rollout',
    metadata: { name: 'edge-os-2' },
    spec: {
      placementRef: { name: 'all-shops' },
      image: { name: 'edge-os-2' },
      strategy: { type: 'All' },
      gates: { healthySeconds: 1, timeoutSeconds: 60 },
      attestation: 'warning',
    },
  })

  test('are applied: created, unchanged, configured; what is not declared any more goes', async () => {
    world.write('fleet/fleet.yaml', FLEET)
    expect(await ok('apply', '-f', 'fleet', '--dry-run', 'server')).toContain('created (server dry run)')
    expect(await world.run(['diff', '-f', 'fleet'])).toMatchObject({
      code: 1,
      out: expect.stringContaining('+kind: Placement'),
    })
    const names = ['managedclustersetbinding', 'placement'].map((kind) => `${kind}.cluster.open-cluster-management.io`)
    const all = (outcome: string) => `${names[0]}/default ${outcome}\n${names[1]}/all-shops ${outcome}\n`
    expect(await ok('apply', '-f', 'fleet')).toBe(all('created'))
    expect(await ok('apply', '-f', 'fleet')).toBe(all('unchanged'))
    expect(await world.run(['diff', '-f', 'fleet'])).toMatchObject({ code: 0, out: '' })
    world.write('fleet/fleet.yaml', FLEET.replace(', tier: prod', ''))
    const { code, out } = await world.run(['diff', '-f', 'fleet'])
    expect({ code, changed: out.match(/^[-+] .*/gm) }).toEqual({ code: 1, changed: ['-    tier: prod'] })
    expect(await ok('apply', '-f', 'fleet')).toContain('all-shops configured')
    const labels = parseYaml(await ok('get', 'placement', 'all-shops', '-o', 'yaml')) as {
      metadata: { labels: object }
    }
    expect(labels.metadata.labels).toEqual({ team: 'edge' })
  })

  test('with faults are told with file, line and column, and nothing of such a file is applied', async () => {
    world.write('bad.yaml', `${FLEET.replace('all-shops', 'never')}---\nkind: Rolout\n---\nkind: [\n`)
    const { code, err } = await world.run(['apply', '-f', 'bad.yaml'])
    expect(code).toBe(1)
    expect(
      err
        .split('\n')
        .map((line) => /^skerry: bad\.yaml:(\d+:\d+): /.exec(line)?.[1])
        .filter(Boolean),
    ).toHaveLength(2)
    expect(err).toContain('skerry: bad.yaml:22:7: there is no kind Rolout (did you mean "Rollout"?)')
    expect((await world.run(['get', 'placement', 'never'])).code).toBe(3)
  })

  test('that the hub refuses are told cause by cause, at their places', async () => {
    const bad = `apiVersion: skerry.dev/v1alpha1
kind: Rollout
metadata: { name: bad, namespace: fleet }
spec:
  placementRef: { name: all-shops }
  image: { nam: edge-os-2 }
  strategy:
    type: Sometimes
  windows:
    activation: [{ at: "61 2 * * *", timeZone: Europe/Oslo, durationSeconds: 7200 }]
`
    const { code, err } = await world.run(['apply', '-f', '-'], { stdin: bad })
    expect(code).toBe(1)
    expect(err.trimEnd().split('\n').toSorted()).toEqual([
      expect.stringMatching(
        /^skerry: <stdin>:10:24: rollout.skerry.dev\/bad: spec.windows.activation\[0\].at minute "61"/,
      ),
      expect.stringMatching(/^skerry: <stdin>:6:12: rollout.skerry.dev\/bad: spec.image.nam is not a known field$/),
      expect.stringMatching(/^skerry: <stdin>:6:3: rollout.skerry.dev\/bad: spec.image.name is required$/),
      expect.stringMatching(/^skerry: <stdin>:8:11: rollout.skerry.dev\/bad: spec.strategy.type must be one of/),
    ])
    const image = 'apiVersion: skerry.dev/v1alpha1\nkind: OSImage\nmetadata: { name: mine }\n'
    expect(await world.run(['apply', '-f', '-'], { stdin: image })).toMatchObject({
      code: 1,
      err: expect.stringContaining('<stdin>:2:7: OSImage cannot be applied'),
    })
    const window = `${bad.replace('nam:', 'name:').replace('Sometimes', 'All')}  semantics: OCM\n  offlinePolicy: Wait\n`
    const said = (await world.run(['apply', '-f', '-'], { stdin: window })).err
    expect(said).toMatch(
      /^skerry: <stdin>:10:24: .*windows.activation\[0\].at minute "61" in "61 2 \* \* \*" is wrong: \*, 0-59, a list/,
    )
    expect(said).toMatch(/^skerry: <stdin>:12:18: .*spec.offlinePolicy has no meaning with spec.semantics OCM/m)
  })

  test('of the README are taken as they are printed', async () => {
    const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
    const [, yaml = ''] = /```yaml\n([\s\S]*?)```/.exec(readme) ?? []
    const { err, out } = await world.run(['apply', '-f', '-', '--dry-run', 'server'], { stdin: yaml })
    expect(out).toBe('rollout.skerry.dev/edge-os-43 created (server dry run)\n')
    expect(err).toMatch(/^Warning: spec.image.name: there is no OSImage edge-os-43 yet; the rollout waits until it is/m)
  })

  test('with a version that is not the newest are a conflict', async () => {
    const old = FLEET.replace('creationTimestamp: null', "resourceVersion: '1'").replace('edge', 'other')
    expect(await world.run(['apply', '-f', '-'], { stdin: old })).toMatchObject({ code: 4 })
  })

  test('of a rollout are previewed before: who is sent the image now, in which stage; nothing is written', async () => {
    world.write('rollout.json', ROLLOUT)
    await ok('wait', 'placement', 'all-shops', '-n', 'fleet', '--for=condition=PlacementSatisfied', '--timeout', '120s')
    const preview = ['rollout', 'preview', '-n', 'fleet', '-f', 'rollout.json']
    const text = await ok(...preview)
    expect(text).toMatch(/^Rollout fleet\/edge-os-2 would be created; nothing is written by this\.\n/)
    expect(text).toMatch(/\nImage: +edge-os-2, manifest sha256 [0-9a-f]{64}\nPhase: +Running\n/)
    expect(text).toMatch(
      /\nSTAGE +GROUPS +TURN +GATE +AT ONCE +MAY FAIL +SENT NOW +UNDER WAY +LATER +FINISHED\n1 +0 +now +- +1 +all +1 +0 +0 +0\n/,
    )
    expect(text).toMatch(/\nSTAGE +CLUSTER +STATE .*\n1 +shop-17 +NotStarted +Sending +is sent the image now\n$/)
    expect(JSON.parse(await ok(...preview, '-o', 'json'))).toMatchObject({
      ...{ rollout: 'fleet/edge-os-2', outcome: 'created', phase: 'Running', placement: 'all-shops' },
      ...{ waves: [{ groups: [{ index: 0 }], turn: 'Open', sentNow: [SITE], later: [] }], held: [] },
    })
    expect((await world.run(['get', 'rollout', 'edge-os-2', '-n', 'fleet'])).code).toBe(3)
  })

  test('start a rollout, and one can wait for its end', async () => {
    const { code, out } = await world.run(['apply', '-n', 'fleet', '-f', '-'], { stdin: ROLLOUT })
    expect({ code, out }).toEqual({ code: 0, out: 'rollout.skerry.dev/edge-os-2 created\n' })
    const soon = await world.run(['wait', 'rollout/edge-os-2', '--for=phase=Paused', '--timeout', '1s'])
    expect(soon).toMatchObject({
      code: 1,
      err: expect.stringMatching(/timed out waiting for phase Paused on rollout.*its phase is/),
    })
    await ok('wait', 'rollout', 'edge-os-2', '--for=phase=Completed', '--timeout', '120s')
  })
})

// Only looks, so that all may look at once.
describe.concurrent('what is told', () => {
  test('get: the server’s tables, and objects in every form', async () => {
    expect(await ok('get', 'clusters')).toMatch(
      /^NAME +ACCEPTED +JOINED +AVAILABLE +REACHABILITY +AGE\nshop-17 +true +True +True +Online/,
    )
    expect(await ok('get', 'nodes', '-o', 'wide')).toMatch(
      /NAMESPACE +NAME .* CLASS .* AGE +SLOT +DRIVER +MESSAGE\nshop-17 +shop-17 +Idle +Confirmed +edge-os-2 +software-key +warning/,
    )
    expect(await ok('get', 'rollouts', '--no-headers')).toMatch(
      /^fleet +edge-os-2 +Completed +Completed +edge-os-2 +1\/1 /,
    )
    expect(await items('get', 'rollouts')).toMatchObject([{ kind: 'Rollout', status: { phase: 'Completed' } }])
    expect(await items('get', 'clusters,nodes')).toMatchObject([{ kind: 'ManagedCluster' }, { kind: 'EdgeNode' }])
    expect(parseYaml(await ok('get', 'image/edge-os-1', '-o', 'yaml'))).toMatchObject({
      kind: 'OSImage',
      metadata: { name: 'edge-os-1' },
    })
    expect(await items('get', 'clusters', '-l', 'cluster.open-cluster-management.io/clusterset=other')).toEqual([])
    expect(await world.run(['get', 'placements', '-n', 'empty'])).toMatchObject({
      code: 0,
      out: '',
      err: 'No resources found in empty namespace.\n',
    })
    expect(await ok('get', 'decisions', '-o', 'name')).toBe(
      'placementdecision.cluster.open-cluster-management.io/all-shops-decision-1\n',
    )
    expect(await ok('get', 'registrations,events')).toMatch(
      /registration\.skerry\.dev\/shop-17[\s\S]*event\.skerry\.dev\//,
    )
  })

  test('the context’s namespace is meant without -n', async () => {
    cpSync(world.path('config.yaml'), world.path('config-2.yaml'))
    const env = { SKERRY_CONFIG: world.path('config-2.yaml') }
    await world.run(['context', 'set', '-n', 'empty'], { env })
    expect((await world.run(['get', 'rollouts'], { env })).err).toContain('in empty namespace')
    expect((await world.run(['get', 'nodes'], { env })).out).toContain(SITE)
    await world.run(['context', 'set', '-n', ''], { env })
    expect((await world.run(['get', 'rollouts'], { env })).out).toContain('edge-os-2')
  })

  test('describe: a rollout with every cluster’s word, a node with what its class cannot prove', async () => {
    const rollout = await ok('describe', 'rollout', 'edge-os-2')
    expect(rollout).toMatch(/Phase: +Completed/)
    expect(rollout).toMatch(
      / {2}shop-17:\n {4}State: +Succeeded\n {4}Reason: [\s\S]*Since: [\s\S]*Rests on: +shop-17\/shop-17 number \d+ of life 1, sha256 [0-9a-f]{64}/,
    )
    expect(rollout).toMatch(/Events:\n +LAST SEEN +TYPE +REASON/)
    expect(await ok('describe', 'rollout', 'edge-os-2', '--state', 'succeeded,failed')).toContain('\n  shop-17:\n')
    expect(await ok('describe', 'rollout', 'edge-os-2', '--state', 'failed')).toMatch(/^Clusters: +<none>$/m)
    const node = await ok('describe', 'node', SITE)
    expect(node).toMatch(/Class: +software-key \(the key is a file: .*not what the machine booted\)/)
    expect(node).toMatch(/Image: +edge-os-2, sha256 [0-9a-f]{64}\nSlot: +[ab]\nBoot: /)
    expect(node).toMatch(/Attestation:\n {2}Verdict: +warning\n {2}Reason: +SoftwareKey/)
    const cluster = await ok('describe', 'cluster', SITE)
    expect(cluster).toMatch(
      /Accepted by the hub: +yes[\s\S]*Claims: +kind=shop[\s\S]*Chosen by: +fleet\/all-shops[\s\S]*software-key/,
    )
    expect(cluster).toMatch(/Reachability: +Online: .*\nLast heard: +\d{4}-\S+Z \(\d+s ago\)\n/)
    expect(cluster).toMatch(/Conditions:\n +TYPE +STATUS[\s\S]* HubAcceptedManagedCluster +True/)
    expect(cluster).toMatch(/Nodes:\n +NAME .* LAST HEARD\n +shop-17 .* Online +\d+s\n/)
    // What happened to its nodes and registrations happened to the cluster.
    expect(cluster).toMatch(/Events:\n +LAST SEEN .* OBJECT +FROM .*\n[\s\S]* Registration\/shop-17 /)
    expect(node).toMatch(/Last heard: +\d{4}-\S+Z \(\d+s ago\)/)
    for (const kind of ['node', 'registration', 'placement', 'image', 'mclset'])
      expect(await ok('describe', kind), kind).toMatch(/\nEvents:[^\n]*\n(?: {2}[^\n]*\n)*$/)
    expect(await ok('describe', 'placement', 'all-shops')).toMatch(/Reasons:\n +REASON +CLUSTERS\n +Selected +1/)
    expect(await ok('describe', 'registration', SITE)).toMatch(/Class: +software-key \(the key is a file/)
  })

  test('attest status: what the hub made of each boot, and every verdict as it was signed', async () => {
    const [header = '', row = ''] = (await ok('attest', 'status')).split('\n')
    expect(header.split(/\s{2,}/)).toEqual([
      'CLUSTER',
      'NODE',
      'CLASS',
      'VERDICT',
      'REASON',
      'FINDINGS',
      'BANK',
      'JUDGED',
    ])
    const [cluster = '', node = '', ...rest] = row.split(/\s{2,}/)
    expect(rest.slice(0, 5)).toEqual(['software-key', 'warning', 'SoftwareKey', 'SoftwareKey', '-'])
    const results = JSON.parse(await ok('attest', 'status', `${cluster}/${node}`, '--results', '-o', 'json'))
    expect(results.items[0]).toMatchObject({ verdict: 'warning', ear: expect.stringMatching(/^[^.]+\.[^.]+\.[^.]+$/) })
    expect(await world.run(['attest', 'status', 'nobody'])).toMatchObject({
      code: 3,
      err: expect.stringMatching(/nobody; .*skerry get registrations/),
    })
    expect(await world.run(['describe', 'node', 'nobody'])).toMatchObject({
      code: 3,
      err: expect.stringMatching(/"nobody" not found; .*skerry get registrations/),
    })
    expect((await world.run(['attest', 'status', '--results'])).code).toBe(2)
  })

  test('explain: why a cluster was chosen, and what a field means', async () => {
    expect(await ok('explain', 'placement', 'all-shops')).toMatch(/1 selected[\s\S]*shop-17 +Selected +1 +\d+/)
    const one = ['explain', 'placement', 'all-shops', '--cluster']
    expect(JSON.parse(await ok(...one, SITE, '-o', 'json'))).toMatchObject({
      clusters: [{ cluster: SITE, reason: 'Selected' }],
    })
    expect((await world.run([...one, 'nowhere'])).code).toBe(3)
    expect(await ok('explain', 'rollout.spec.strategy.progressive.maxConcurrency')).toContain(
      'FIELD: maxConcurrency <integer or string>',
    )
    expect(await world.run(['explain', 'rollout.spec.strategi'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('did you mean "strategy"'),
    })
    expect(await world.run(['explain', 'node', 'status.attestation'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('skerry explain node.status.attestation'),
    })
  })

  test('events: oldest first, of everything or of one object', async () => {
    const all = (await items('events')) as unknown as { spec: { eventTime: string } }[]
    expect(all.map(({ spec }) => spec.eventTime)).toEqual(all.map(({ spec }) => spec.eventTime).toSorted())
    expect(await ok('events', '--for', 'rollout/edge-os-2')).toMatch(/^LAST SEEN +NAMESPACE[\s\S]*Rollout\/edge-os-2/)
    expect(await ok('events', '--for', 'rollout/edge-os-2')).not.toContain('Registration/')
  })

  test('report: each claim with its statement, into a file or onto the screen', async () => {
    await ok('report', 'export', '-o', 'json', '--out', 'report.json')
    const report = JSON.parse(read('report.json')) as {
      clusters: { nodes: { claims: { claim: string; statements: object[] }[] }[] }[]
    }
    const claims = report.clusters[0]?.nodes[0]?.claims
    expect(claims?.find(({ claim }) => claim === 'RunsAssignedImage')).toMatchObject({
      result: 'pass',
      statements: [
        { cluster: SITE, seq: expect.any(Number) },
        { cluster: SITE, seq: expect.any(Number) },
      ],
    })
    expect(await ok('report', 'export', '-o', 'table')).toMatch(
      /shop-17 +shop-17 +software-key +Online +RunsAssignedImage +pass/,
    )
    expect((await world.run(['report', 'export', '--cluster', 'shop-1'])).code).toBe(3)
  })

  test('report verify: without a hub, under the key that the machine shows; whatever was changed is told', async () => {
    await ok('report', 'export', '-o', 'json', '--out', 'audit.json')
    const verify = (...args: string[]) => world.run(['report', 'verify', ...args], { offline: true })
    const shown = execFileSync(process.execPath, [AGENT, 'status', '--data', world.path('site')], {
      encoding: 'utf8',
    })
    const { nodeKey, newestStatement } = JSON.parse(shown) as { nodeKey: string; newestStatement: { seq: number } }
    expect(newestStatement.seq).toBeGreaterThan(1)

    const { code, out, err } = await verify('audit.json')
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toMatch(/shop-17 +shop-17 +RunsAssignedImage +pass +hub’s word +verified +signed by the node/)
    expect(out).toContain('4 verified, 0 not-verified, 0 not-assessed')
    expect(out).toContain('1 node’s key is known by the hub’s word alone')
    const pinned = await verify('audit.json', '--key', `${SITE}=${nodeKey}`)
    expect(pinned.out).toMatch(/RunsAssignedImage +pass +pinned +verified/)
    expect(pinned.out).not.toContain('word alone')

    const stranger = `${nodeKey.startsWith('A') ? 'B' : 'A'}${nodeKey.slice(1)}`
    expect(await verify('audit.json', '--key', `${SITE}/${SITE}=${stranger}`)).toMatchObject({
      code: 1,
      out: expect.stringMatching(/RunsAssignedImage +pass +hub’s word +not-verified/),
      err: expect.stringContaining(`skerry: ${SITE}/${SITE}: its statements stand under the key ${nodeKey}`),
    })
    expect(await verify('audit.json', '--key', `shop-1=${nodeKey}`)).toMatchObject({
      code: 1,
      err: 'skerry: shop-1: the report has no such node\n',
    })
    world.write('changed.json', read('audit.json').replaceAll('software-key', 'tpm'))
    expect(await verify('changed.json')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^skerry: .*the signature over statement.* does not verify: a text among them/m),
    })
    const json = await verify('changed.json', '-o', 'json')
    expect(JSON.parse(json.out)).toMatchObject({ claims: [{ outcome: 'not-verified' }, {}, {}, {}] })

    expect(await verify('audit.json', '--key', 'shop-17')).toMatchObject({ code: 2 })
    world.write('bare.json', await ok('get', 'clusters', '-o', 'json'))
    expect(await verify('bare.json')).toMatchObject({ code: 1, err: expect.stringContaining('bare.json: ') })
    world.write('torn.json', read('audit.json').slice(0, 100))
    expect(await verify('torn.json')).toMatchObject({ code: 1, err: expect.stringContaining('torn.json: ') })
    writeFileSync(world.path('cut.json'), Buffer.from([0x7b, 0x22, 0xc3, 0x22, 0x7d]))
    expect(await verify('cut.json')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^skerry: cut\.json is no text in UTF-8: [^\n]*"skerry report export/),
    })
    world.write('other.yaml', 'kind: ComplianceReport\nclusters: []\n')
    expect(await verify('other.yaml')).toMatchObject({
      code: 1,
      err: expect.stringMatching(
        /^skerry: other\.yaml: [^\n]*"skerry report export -o json --out FILE" writes [^\n]*\n$/,
      ),
    })
    expect(await verify('none.json')).toMatchObject({ code: 2, out: '', err: 'skerry: there is no file none.json\n' })
    expect(await verify('trust')).toMatchObject({ code: 2, out: '', err: 'skerry: trust is a folder, not a file\n' })
  })

  test('kubeconfig: the hub and the token of the context, for its owner alone', async () => {
    await ok('kubeconfig', '--out', 'kubeconfig')
    expect(mode('kubeconfig')).toBe(0o600)
    const config = parseYaml(read('kubeconfig')) as { users: { user: { token: string } }[] }
    expect(config.users[0]?.user.token).toBe(world.hub.adminToken)
  })

  test.skipIf(KUBECTL === undefined)('kubeconfig: kubectl sees what skerry sees', async () => {
    await ok('kubeconfig', '--out', 'kubeconfig-2')
    const there = ['--kubeconfig', world.path('kubeconfig-2'), '--cache-dir', world.path('kube')]
    const asked = execFileSync(KUBECTL ?? '', ['get', 'nodes.skerry.dev', '-A', ...there], { encoding: 'utf8' })
    // "5m" a moment ago is "5m1s" now.
    const ages = /(\d+[smhd])+/g
    expect(asked.replaceAll(ages, '0s').replaceAll(/ +/g, ' ')).toBe(
      (await ok('get', 'nodes', '-A')).replaceAll(ages, '0s').replaceAll(/ +/g, ' '),
    )
  })
})

describe('a watch', () => {
  const label = (value: string) =>
    world.hub.client.mergePatch('Rollout', 'fleet', 'edge-os-2', { metadata: { labels: { round: value } } })

  test('goes on with what changes, in every form, also over a connection that was cut', async () => {
    const relay = await openRelay(world.hub.apiUrl)
    const there = ['--server', relay.url, '--token', world.hub.adminToken, '--ca', 'ca.pem']
    const table = world.watch(['get', 'rollouts', '-w', ...there])
    const json = world.watch(['get', 'rollout', 'edge-os-2', '-n', 'fleet', '-w', '-o', 'json', ...there])
    const yaml = world.watch(['get', 'rollouts', '-w', '-o', 'yaml', ...there])
    const events = world.watch(['events', '-w', '-n', 'fleet', ...there])
    try {
      await Promise.all([
        table.until(/\nfleet +edge-os-2/),
        json.until(/"kind": "Rollout"/),
        yaml.until(/---\n[\s\S]*kind: Rollout/),
        events.until(/LAST SEEN/),
      ])
      await label('one')
      await Promise.all([
        table.until(/(\nfleet +edge-os-2.*){2}/),
        json.until(/"round": "one"/),
        yaml.until(/round: one/),
      ])
      relay.cut()
      await label('two')
      await Promise.all([
        table.until(/(\nfleet +edge-os-2[\s\S]*){3}/),
        json.until(/"round": "two"/),
        yaml.until(/round: two/),
      ])
      expect(table.seen().match(/NAME/g)).toHaveLength(2)
      // A screen on which nothing changes must not look like a fleet at rest. What the events say comes before their watch
      // stands: one that was not there yet when the connections were cut lost nothing, so they are cut again.
      const told = /skerry: the hub at .* cannot be reached: .*The watch goes on when it answers\n/
      await eventually(
        async () => {
          if ([table, json, yaml, events].every((watched) => told.test(watched.seen()))) return true
          relay.cut()
          return false
        },
        'every watch telling that its connection was cut',
        60_000,
      )
    } finally {
      for (const watched of [table, json, yaml, events]) watched.stop()
      await relay.close()
    }
  })

  test('of several kinds, or of nobody, is refused', async () => {
    expect((await world.run(['get', 'clusters,nodes', '-w'])).code).toBe(2)
    expect((await world.run(['get', 'rollout', 'nobody', '-w'])).code).toBe(3)
  })
})

describe('a rollout is steered', () => {
  const because = (text: string) => ['--reason', text]
  const steer = (...args: string[]) => ok('rollout', ...args)

  test('with a reason, once: what stands is told as it stands, and what may not be with what to do', async () => {
    world.write(
      'idle.yaml',
      JSON.stringify({
        apiVersion: 'skerry.dev/v1alpha1',
        kind: 'Rollout',
        metadata: { name: 'idle' },
        spec: { placementRef: { name: 'nobody' }, image: { name: 'edge-os-1' } },
      }),
    )
    await ok('apply', '-f', 'idle.yaml', '-n', 'steered')
    const paused = await steer('pause', 'idle', '-n', 'steered', ...because('the tills are open'))
    expect(paused).toMatch(/^rollout\.skerry\.dev\/idle paused, by admin at \S+Z: the tills are open\n$/)
    expect(await steer('pause', 'idle', '-n', 'steered', ...because('the tills are open'))).toBe(paused)
    // The last word holds.
    expect(await steer('pause', 'idle', '-n', 'steered', ...because('stocktaking'))).toMatch(
      /by admin at \S+Z: stocktaking\n$/,
    )
    expect(await steer('resume', 'idle', '-n', 'steered', ...because('closed'))).toContain('idle resumed, by admin')
    expect(await world.run(['rollout', 'resume', 'idle', '-n', 'steered', ...because('x')])).toMatchObject({
      code: 4,
      err: expect.stringMatching(
        /^skerry: rollout steered\/idle is not to be resumed: it was resumed by admin at \S+Z, and nobody has paused it since\n$/,
      ),
    })
    expect(
      await world.run(['rollout', 'approve', 'idle', '-n', 'steered', '--gate', 'Start', ...because('seen')]),
    ).toMatchObject({ code: 4, err: expect.stringContaining('spec.approvals.start says how many it asks for') })
    expect(
      await world.run(['rollout', 'retry', 'idle', '-n', 'steered', '--cluster', SITE, ...because('x')]),
    ).toMatchObject({ code: 4, err: expect.stringContaining(`cluster ${SITE} is not in rollout steered/idle`) })
  })

  test('and its history says who did what, when and why', async () => {
    expect(await steer('history', 'idle', '-n', 'steered')).toMatch(
      /^TIME +WHO +DID +OF +UNTIL +WHY\n\S+Z +admin +pause +the tills are open\n\S+Z +admin +pause +stocktaking\n\S+Z +admin +resume +closed\n$/,
    )
    expect(await items('rollout', 'history', 'idle', '-n', 'steered')).toMatchObject([
      { verb: 'pause', by: 'admin' },
      { verb: 'pause' },
      { verb: 'resume' },
    ])
    expect(await ok('audit', 'list')).toMatch(/admin +127\.0\.0\.1 +pause +Rollout\/steered\/idle/)
    expect(await ok('events', '--for', 'rollout/idle', '-n', 'steered')).toContain('admin pauses the rollout')
  })

  test.each([
    [['pause', 'idle'], 2, "required option '--reason <sentence>' not specified"],
    [['approve', 'idle', ...because('x')], 2, "required option '--gate <gate>' not specified"],
    [['approve', 'idle', ...because('x'), '--gate', 'group/1'], 2, 'Write Start, Group/<index> or Completion.'],
    [['pause', 'idle', ...because(' '), '-n', 'steered'], 1, 'reason'],
    [['pause', 'nobody', ...because('x'), '-n', 'steered'], 3, 'rollouts.skerry.dev "nobody" not found'],
    [['history', 'nobody'], 3, 'rollouts.skerry.dev "nobody" not found'],
  ] as const)('rollout %j ends with %i', async (args, code, text) => {
    const ran = await world.run(['rollout', ...args])
    expect(ran).toMatchObject({ code, err: expect.stringContaining(text) })
  })

  test('until it is aborted', async () => {
    expect(await steer('abort', 'idle', '-n', 'steered', ...because('withdrawn'))).toContain('idle aborted, by admin')
    expect(await world.run(['rollout', 'pause', 'idle', '-n', 'steered', ...because('x')])).toMatchObject({
      code: 4,
      err: expect.stringContaining('which is final: make another rollout'),
    })
  })

  test('and a name that two namespaces have is acted on in neither, whatever the verb, until one is said', async () => {
    await ok('apply', '-f', 'idle.yaml', '-n', 'steered-too')
    for (const words of [
      ['get', 'rollout', 'idle'],
      ['describe', 'rollout', 'idle'],
      ['wait', 'rollout', 'idle', '--for=delete'],
      ['rollout', 'pause', 'idle', ...because('x')],
      ['rollout', 'history', 'idle'],
      ['delete', 'rollout', 'idle'],
    ])
      expect(await world.run(words), words.join(' ')).toMatchObject({
        code: 2,
        out: '',
        err: 'skerry: rollout "idle" is in the namespaces steered, steered-too: say which with -n\n',
      })
    expect(await ok('delete', 'rollout', 'idle', '-n', 'steered-too')).toBe(
      'rollout.skerry.dev "idle" deleted from steered-too namespace\n',
    )
    expect(await ok('delete', 'rollout', 'idle')).toBe('rollout.skerry.dev "idle" deleted from steered namespace\n')
  })
})

describe('a rollout is looked at before anything happens', () => {
  const FLEET = `apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: { name: default, namespace: plans }
spec: { clusterSet: default }
---
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata: { name: lab-1 }
spec: { hubAcceptsClient: true }
---
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata: { name: lab-2 }
spec: { hubAcceptsClient: true }
---
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: { name: everyone, namespace: plans }
spec:
  decisionStrategy:
    groupStrategy:
      decisionGroups:
        - groupName: shops
          groupClusterSelector:
            claimSelector: { matchExpressions: [{ key: kind, operator: In, values: [shop] }] }
`
  const gated = (more: object = {}, metadata: object = {}) =>
    JSON.stringify({
      ...{ apiVersion: 'skerry.dev/v1alpha1', kind: 'Rollout' },
      metadata: { name: 'gated', namespace: 'plans', ...metadata },
      spec: {
        ...{ placementRef: { name: 'everyone' }, image: { name: 'edge-os-2' }, attestation: 'warning' },
        strategy: { type: 'ProgressivePerGroup', progressivePerGroup: { maxFailures: 1 } },
        approvals: { start: 1, betweenGroups: 1 },
        ...more,
      },
    })
  const preview = (stdin: string, ...args: string[]) => world.run(['rollout', 'preview', '-f', '-', ...args], { stdin })

  test('its gates, and every cluster that waits with why and until when', async () => {
    world.write('plans.yaml', FLEET)
    await ok('apply', '-f', 'plans.yaml')
    await ok('wait', 'placement', 'everyone', '-n', 'plans', '--for=condition=PlacementSatisfied', '--timeout', '120s')
    const { code, out } = await preview(gated())
    expect(code).toBe(0)
    expect(out).toMatch(/\nPhase: +WaitingForApproval\n/)
    expect(out).toMatch(/\n1 +0 \(shops\) +waits +Start: 1 approval +1 +1 +0 +0 +1 +0\n/)
    // Nobody of it is in reach.
    expect(out).toMatch(/\n2 +1 +waits +Group\/1: 1 approval +- +- +0 +0 +2 +0\n/)
    expect(out).toMatch(
      /\n1 +shop-17 +NotStarted +WaitingForApproval +\S+Z \(in \d+s\) +group 0 \(shops\) waits for an approval: "skerry rollout approve gated --gate Start"\n/,
    )
    for (const lab of ['lab-1', 'lab-2'])
      expect(out).toMatch(new RegExp(`\\n2 +${lab} +Offline +NeverSeen +\\S+Z \\(in \\d+s\\) +was never heard from;`))
    const told = parseYaml((await preview(gated(), '-o', 'yaml')).out) as { held: { recheckAt?: string }[] }
    expect(told.held).toHaveLength(3)
    for (const { recheckAt } of told.held) expect(Date.parse(recheckAt ?? '')).toBeGreaterThan(0)
  })

  test('the minute of each cluster of a rollout in waves', async () => {
    const waves = [{ startAfter: '1h', percent: 100, spread: '4h' }]
    const { out } = await preview(gated({ approvals: {}, waves }))
    expect(out).toMatch(/\nSTAGE +CLUSTER +STATE +REASON +LOOKED AT AGAIN +ITS MINUTE +MESSAGE\n/)
    expect(out).toMatch(/\n1 +shop-17 +NotStarted +Sending +\S+:00\.000Z \(in [1-5]h\S*\) +is sent the image now\n/)
  })

  test('when sites would activate it: in their windows and waves', async () => {
    // Half a year away, whenever this is asked.
    const month = ((new Date().getUTCMonth() + 6) % 12) + 1
    const windows = { activation: [{ at: `0 2 1 ${month} *`, timeZone: 'UTC', durationSeconds: 60 }] }
    const waves = [
      { startAfter: '0s', percent: 10 },
      { startAfter: '4h', percent: 100, spread: '2h' },
    ]
    const { out } = await preview(gated({ windows, waves }))
    expect(out).toContain(` sites activate in their windows: 0 2 1 ${month} * (UTC), 60 s\n`)
    const day = `${String(month).padStart(2, '0')}-01`
    expect(out).toMatch(new RegExp(`\\n +the next opens \\d+-${day}T02:00:00.000Z \\(in \\d+d\\)\\n`))
    expect(out).toMatch(
      /\nActivate: +sites activate in waves, counted from when the image is first sent: 10% from 0s on; 100% from 4h on, spread over 2h\n/,
    )
  })

  test('what an edit would change, and that one would change nothing', async () => {
    world.write('gated.json', gated())
    await ok('apply', '-f', 'gated.json')
    await ok('wait', 'rollout', 'gated', '-n', 'plans', '--for=phase=WaitingForApproval', '--timeout', '120s')
    const same = await preview(gated())
    expect(same.out).toMatch(/^Rollout plans\/gated is stored as the file has it; /)
    expect(same.out).toMatch(/\n1 +shop-17 +NotStarted +WaitingForApproval +\S+Z /)
    const open = await preview(gated({ approvals: null }))
    expect(open.out).toMatch(/^Rollout plans\/gated would be changed; /)
    expect(open.out).toMatch(/\nPhase: +Running, where it is WaitingForApproval now\n/)
    expect(open.out).toMatch(
      /\nWHAT CHANGES FOR +WITHOUT THE EDIT +WITH IT\nshop-17 +NotStarted \(WaitingForApproval\) +NotStarted \(Sending\)\n$/,
    )
    expect((await preview(gated({}, { labels: { a: 'b' } }))).out).toMatch(
      /would be changed[\s\S]*\nFor no cluster does the edit change what happens next\.\n$/,
    )
    const told = JSON.parse((await preview(gated({ approvals: null }), '-o', 'json')).out)
    expect(told).toMatchObject({ outcome: 'configured', edit: { clusters: [{ cluster: SITE }] } })
    expect(JSON.parse(await ok('get', 'rollout', 'gated', '-n', 'plans', '-o', 'json'))).toMatchObject({
      metadata: { generation: 1 },
      spec: { approvals: { start: 1 } },
    })
  })

  test.each([
    ['several documents', `${gated()}\n---\n${gated()}`, 2, '2 objects are there: Rollout gated, Rollout gated'],
    ['another kind', FLEET.split('---')[0] ?? '', 2, 'there is ManagedClusterSetBinding default'],
    ['nothing', '', 2, 'there is no object in -'],
    [
      'what the hub refuses',
      gated({ strategy: { type: 'Some' } }),
      1,
      /<stdin>:1:\d+: rollout.skerry.dev\/gated: spec.strategy.type must/,
    ],
    ['what is no YAML', 'kind: [', 1, /<stdin>:1:\d+: /],
  ])('%s is told', async (_, stdin, code, says) => {
    const ran = await preview(stdin)
    expect(ran).toMatchObject({ code, out: '' })
    expect(ran.err).toMatch(says)
  })

  test('nobody who answers is exit code 5', async () => {
    expect(await preview(gated(), '--server', 'https://127.0.0.1:1', '--token', 'nobody-has-made')).toMatchObject({
      code: 5,
      out: '',
    })
  })

  test('how a rollout of the hub and its fleet would fare in a storm, from its beginning', async () => {
    world.write(
      'storm.yaml',
      `start: 2026-06-01T08:00:00Z
end: 2026-06-08T08:00:00Z
pace: { staging: 20m, activation: 8m }
clusters: [{ name: lab-1, joins: 2026-06-02T08:00:00Z }]
people: { approvals: [{ by: ann, after: 3h }] }
`,
    )
    const simulate = ['rollout', 'simulate', '--from-hub', 'gated', '--from-start', '--outages', 'storm.yaml']
    const text = await ok(...simulate, '-n', 'plans')
    expect(text).toMatch(/^Rollout plans\/gated, from its beginning at 2026-06-01T08:00:00Z\n/)
    expect(text).toMatch(/2026-06-01T11:00:00Z +sent to shop-17\n/)
    expect(text).toMatch(/2026-06-01T08:00:00Z +lab-1, lab-2: Offline \(NeverSeen\)/)
    expect(text).toMatch(/: 1 Offline, 2 Succeeded\. .*\n$/)
    // Without -n it is looked for everywhere.
    const told = JSON.parse(await ok(...simulate, '-o', 'json'))
    expect(told.from).toEqual({ kind: 'Start', at: '2026-06-01T08:00:00Z' })
    expect(told.end.clusters.map(({ cluster, reason }: Record<string, string>) => [cluster, reason])).toEqual([
      ['lab-1', 'Confirmed'],
      ['lab-2', 'NeverSeen'],
      [SITE, 'Confirmed'],
    ])
    // What the file says is of the hub's clusters.
    world.write('typo.yaml', read('storm.yaml').replace('lab-1', 'lab-11'))
    expect(await world.run([...simulate.slice(0, -1), 'typo.yaml'])).toMatchObject({
      code: 1,
      err: expect.stringMatching(
        /typo\.yaml:4:\d+: clusters\[0\]\.name: there is no cluster "lab-11" \(did you mean "lab-1"\?\)/,
      ),
    })
  })

  test('and on from where it stands, by its own spec or by that of a file', async () => {
    const soon = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString()
    world.write('coming.yaml', `end: ${soon(7)}\npeople: { approvals: [{ by: ann, after: 3h }] }\n`)
    const simulate = (...args: string[]) => ok('rollout', 'simulate', '--outages', 'coming.yaml', ...args)
    expect(await simulate('--from-hub', 'gated')).toMatch(
      /^Rollout plans\/gated, on from where it stands at the hub at \S+Z: WaitingForApproval, 2 Offline, 1 NotStarted\n\nTIME/,
    )
    // Of a rollout that is through nothing is played once more.
    const through = JSON.parse(await simulate('--from-hub', 'edge-os-2', '-o', 'json'))
    expect(through.from).toMatchObject({
      kind: 'Standing',
      isEdited: false,
      phase: 'Completed',
      byState: { Succeeded: 1 },
    })
    expect(through).toMatchObject({ timeline: [], end: { phase: 'Completed', byState: { Succeeded: 1 } } })
    world.write('edited.json', gated({ approvals: undefined }))
    const edited = await simulate('-f', 'edited.json', '--from-hub')
    expect(edited).toMatch(/^Rollout plans\/gated, on from where .*, by the spec of the file: WaitingForApproval, /)
    expect(edited).toMatch(/Z +sent to shop-17\n/)
    expect(edited).not.toContain('ann: approve')
    world.write('late.yaml', `start: ${soon(1)}\nend: ${soon(7)}\n`)
    world.write('early.yaml', `end: ${soon(7)}\npeople: { acts: [{ at: ${soon(-1)}, do: pause, by: bob }] }\n`)
    const from = (outages: string, ...args: string[]) =>
      world.run(['rollout', 'simulate', '--from-hub', ...args, '--outages', outages])
    expect(await from('late.yaml', 'gated')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/late\.yaml:1:8: start: it is played on from where it stands .* say --from-start\n$/),
    })
    expect(await from('early.yaml', 'gated')).toMatchObject({
      code: 0,
      err: expect.stringMatching(/^it is played from \S+Z on: 1 act of the outages file is before that and left out/),
    })
    expect(await from('coming.yaml', 'gated', '--from-start')).toMatchObject({
      code: 1,
      err: expect.stringContaining('start is wanted: when the rollout is applied'),
    })
    expect(await from('coming.yaml')).toMatchObject({ code: 2, err: expect.stringContaining('which rollout? name it') })
    expect(await from('coming.yaml', 'gatet', '-f', 'edited.json')).toMatchObject({
      code: 2,
      err: expect.stringContaining('the file has the rollout gated, and --from-hub names gatet'),
    })
    expect(
      await world.run(['rollout', 'simulate', '-f', 'edited.json', '--from-start', '--outages', 'coming.yaml']),
    ).toMatchObject({
      code: 2,
      err: expect.stringContaining('--from-start is said of a rollout of the hub'),
    })
  })

  test('a rollout that cannot be taken from the hub is told with what to do', async () => {
    const from = (...args: string[]) =>
      world.run(['rollout', 'simulate', '--outages', 'storm.yaml', '--from-start', ...args])
    expect(await from('--from-hub', 'gatet')).toMatchObject({
      code: 3,
      err: expect.stringContaining('"gatet" not found'),
    })
    world.write(
      'lost.json',
      gated({ placementRef: { name: 'nowhere' }, image: { name: 'edge-os-9' } }, { name: 'lost' }),
    )
    await ok('apply', '-f', 'lost.json')
    expect(await from('--from-hub', 'lost')).toMatchObject({
      code: 3,
      err: expect.stringMatching(/there is no Placement nowhere in namespace plans, which rollout lost names in spec/),
    })
    world.write('lost.json', gated({ image: { name: 'edge-os-9' } }, { name: 'lost' }))
    await ok('apply', '-f', 'lost.json')
    expect(await from('--from-hub', 'lost')).toMatchObject({
      code: 0,
      err: 'there is no OSImage edge-os-9 at the hub yet: this is played as if there were one\n',
    })
    // A warning is of what the file says, not of what it would take the place of.
    const warning = expect.stringMatching(/^Warning: spec\.image\.name: there is no OSImage edge-os-9 yet; .*\n$/)
    expect(await preview(gated({ image: { name: 'edge-os-9' } }, { name: 'lost' }))).toMatchObject({ err: warning })
    expect(await preview(gated({}, { name: 'lost' }))).toMatchObject({ code: 0, err: '' })
    for (const name of ['rollout/gated', 'rollout/lost', 'placement/everyone']) await ok('delete', name, '-n', 'plans')
    for (const name of ['lab-1', 'lab-2']) await ok('delete', 'cluster', name)
  })
})

describe('decisions', () => {
  test('a taint keeps placements away, and comes off again', async () => {
    expect(await ok('cluster', 'taint', SITE, 'rebuilding=yes:NoSelect')).toContain('tainted')
    await ok('wait', 'placement', 'all-shops', '--for=condition=PlacementSatisfied=False', '--timeout', '120s')
    expect(await ok('explain', 'placement', 'all-shops')).toMatch(
      /shop-17 +TaintNotTolerated +.*taint rebuilding=yes:NoSelect/,
    )
    expect(await ok('describe', 'cluster', SITE)).toMatch(/Taints: +rebuilding=yes:NoSelect/)
    await ok('cluster', 'taint', SITE, 'rebuilding-')
    expect((await world.run(['cluster', 'taint', SITE, 'rebuilding-'])).code).toBe(3)
  })

  test('a stolen credential is ended, and the node comes back with another by itself', async () => {
    const registration = () => world.hub.client.get('Registration', SITE, SITE)
    const { spec } = await registration()
    expect(await ok('node', 'rotate', `${SITE}/${SITE}`, '--reason', 'laptop lost')).toContain('its NATS key is ended')
    expect(await ok('events', '--for', `registration/${SITE}`)).toContain('laptop lost')
    const back = async () => {
      const now = await registration()
      return now.spec.natsKey !== spec.natsKey && now.status?.state === 'Accepted'
    }
    await eventually(back, 'the node with another NATS key', 120_000)
  })

  test('deny, accept and revoke cut a site off and take it back', async () => {
    const state = (wanted: string) =>
      eventually(
        async () => (await world.hub.client.get('Registration', SITE, SITE)).status?.state === wanted,
        `state ${wanted}`,
        120_000,
      )
    await ok('cluster', 'deny', SITE, '--reason', 'moved')
    await state('Denied')
    expect(await ok('describe', 'cluster', SITE)).toContain('skerry.dev/denied-because=moved')
    expect(await ok('cluster', 'accept', SITE)).toContain(
      'accepted; no registration waits: shop-17/shop-17 was accepted by admin',
    )
    expect(await ok('describe', 'cluster', SITE)).not.toContain('denied-because')
    expect(await ok('node', 'revoke', `${SITE}/${SITE}`, '--reason', 'stolen')).toMatch(/fingerprint .*: revoked/)
    await state('Revoked')
    expect(await ok('cluster', 'accept', SITE)).toContain(
      'shop-17/shop-17 was revoked by admin ("skerry node accept shop-17/shop-17" takes it back)',
    )
    expect((await world.run(['node', 'accept', SITE, '--fingerprint', 'of-another'])).code).toBe(4)
    await ok('node', 'deny', SITE)
    await state('Denied')
  })

  test('tokens and objects are ended by name or by file', async () => {
    expect(await ok('join-token', 'revoke', SITE)).toBe(`jointoken.skerry.dev "${SITE}" deleted\n`)
    expect(await ok('delete', 'rollout', 'edge-os-2')).toBe(
      'rollout.skerry.dev "edge-os-2" deleted from fleet namespace\n',
    )
    expect(await ok('delete', '-f', 'fleet')).toContain(
      'placement.cluster.open-cluster-management.io "all-shops" deleted',
    )
    expect(await ok('wait', 'placement/all-shops', '--for=delete')).toContain('deleted')
    expect((await world.run(['delete', '-f', 'fleet'])).code).toBe(3)
    expect((await world.run(['delete', '-f', 'fleet', '--ignore-not-found'])).code).toBe(0)
    expect(await world.run(['delete', 'image', 'edge-os-1'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('cannot be deleted'),
    })
  })
})

describe('who may do what', () => {
  test('a viewer sees and changes nothing, until its token is revoked', async () => {
    const { out } = await world.run(['token', 'create', 'auditors', '--role', 'viewer', '--ttl', '1h'])
    const viewer = ['--token', out.trim()]
    expect((await world.run(['get', 'clusters', ...viewer])).code).toBe(0)
    expect(await world.run(['cluster', 'deny', SITE, ...viewer])).toMatchObject({
      code: 1,
      err: expect.stringContaining('cannot patch'),
    })
    expect(await ok('token', 'list')).toMatch(/auditors +viewer/)
    await ok('token', 'revoke', 'auditors')
    expect(await world.run(['get', 'clusters', ...viewer])).toMatchObject({
      code: 1,
      err: expect.stringContaining('skerry login'),
    })
  })

  test('every change stands in a chain that holds', async () => {
    expect(await ok('audit', 'list')).toMatch(
      /NUMBER +TIME +WHO[\s\S]*admin +127\.0\.0\.1 +accept +Registration\/shop-17\/shop-17/,
    )
    expect(await ok('audit', 'verify')).toMatch(/^the chain of \d+ audit records holds/)
  })
})

describe.concurrent('what is wrong', () => {
  test.each<[args: string[], code: number, says: string]>([
    [['get', 'clsters'], 2, 'did you mean "clusters"'],
    [['get', 'clusters', '--selecto', 'x'], 2, "unknown option '--selecto' (Did you mean --selector?)"],
    [['gett'], 2, "unknown command 'gett' (Did you mean get?)"],
    [['get'], 2, `missing required argument 'kind'; "skerry get --help" shows what there is`],
    [['nodes'], 2, `unknown command 'nodes': "skerry get nodes" lists them`],
    [['cluster', 'acept', 'x'], 2, `(Did you mean accept?); "skerry cluster --help" shows what there is`],
    [['events', '--four', 'x'], 2, `unknown option '--four' (Did you mean --for?); "skerry events --help"`],
    [['get', 'clusters', '-o', 'xml'], 2, 'Allowed choices are table, wide, json, yaml, name'],
    [['get', 'cluster', 'nobody'], 3, 'not found'],
    [['get', 'rollout', 'nobody'], 3, 'rollouts.skerry.dev "nobody" not found'],
    [['get', 'clusters', '--field-selector', 'spec.x=1'], 1, 'supported are'],
    [['join-token', 'create'], 2, '--class'],
    [['get', 'clusters', '--context', 'tset'], 2, 'did you mean "test"'],
  ])('skerry %j ends with %i', async (args, code, says) => {
    const ran = await world.run(args)
    expect(ran.err).toContain(says)
    expect(ran).toMatchObject({ code, out: '', err: expect.stringMatching(/^skerry: .*\n$/) })
  })

  test('is also a command without its second word: what there is, and that one is missing', async () => {
    const { code, out, err } = await world.run(['cluster'])
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err).toMatch(
      /Usage: skerry cluster [\s\S]*accept[\s\S]*\nskerry: which command\? "skerry cluster --help" shows what there is\n$/,
    )
  })

  test('is JSON with -o json', async () => {
    const { err } = await world.run(['get', 'cluster', 'nobody', '-o', 'json'])
    expect(JSON.parse(err)).toMatchObject({ kind: 'Status', status: 'Failure', reason: 'NotFound', code: 404 })
    const usage = await world.run(['get', 'clsters', '-o', 'json'])
    expect(JSON.parse(usage.err)).toMatchObject({ kind: 'Status', reason: 'UsageError', details: { exitCode: 2 } })
  })

  test('a reader that has enough is no error', () => {
    const script = `set -o pipefail; "${process.execPath}" "${world.bin}" explain rollout --recursive | head -n 1`
    expect(
      execFileSync('bash', ['-c', script], { env: world.env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
    ).toBe('KIND:       Rollout\n')
  })

  test('a config file that its owner cannot read is told, not taken for none', async () => {
    world.write('broken.yaml', 'contexts:\n  - name: 1\n')
    chmodSync(world.path('broken.yaml'), 0o600)
    const ran = await world.run(['get', 'clusters'], { env: { SKERRY_CONFIG: world.path('broken.yaml') } })
    expect(ran).toMatchObject({ code: 1, err: expect.stringContaining('contexts[0].name must be a string') })
  })
})
