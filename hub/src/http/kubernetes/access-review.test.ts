import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { testApi } from '../testing.ts'
import { readKubernetesProtobuf } from './protobuf.ts'

const PATH = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'
const OURS = 'skerry.dev'
const OCM = 'cluster.open-cluster-management.io'

describe('may I?', () => {
  test.each([
    [{ verb: 'list', group: OURS, resource: 'rollouts' }, true, true],
    [{ verb: 'create', group: OURS, resource: 'rollouts' }, true, false],
    [{ verb: 'delete', group: OURS, resource: 'rollouts', namespace: 'x', name: 'y' }, true, false],
    [{ verb: 'update', group: OURS, resource: 'registrations', subresource: 'approval' }, true, false],
    [{ verb: 'create', group: OURS, resource: 'rollouts', subresource: 'pause' }, true, false],
    [{ verb: 'create', group: OURS, resource: 'rollouts', subresource: 'approve', name: 'y' }, true, false],
    [{ verb: 'update', group: OURS, resource: 'rollouts', subresource: 'abort' }, false, false],
    [{ verb: 'get', group: OURS, resource: 'rollouts', subresource: 'acts' }, true, true],
    [{ verb: 'update', group: OCM, resource: 'addonplacementscores', subresource: 'status' }, true, false],
    [{ verb: 'patch', group: OCM, resource: 'addonplacementscores', subresource: 'status' }, true, false],
    [{ verb: 'update', group: OCM, resource: 'placements', subresource: 'status' }, false, false],
    [{ verb: 'get', group: OCM, resource: 'placements', subresource: 'why' }, true, true],
    [{ verb: 'create', group: OCM, resource: 'placements', subresource: 'why' }, true, false],
    [{ verb: 'create', group: OURS, resource: 'osimages' }, false, false],
    [{ verb: 'get', group: '', resource: 'pods' }, false, false],
    [{ verb: '*', group: '*', resource: '*' }, true, false],
  ])('%j: administrator %s, viewer %s, as the routes would say', async (resourceAttributes, admin, viewer) => {
    const api = await testApi()
    for (const [token, allowed] of [
      [api.admin, admin],
      [api.viewer, viewer],
    ] as const) {
      const { code, text } = await api.ask('POST', PATH, { token, body: { spec: { resourceAttributes } } })
      expect({ code, status: (JSON.parse(text) as { status: object }).status }).toMatchObject({
        code: 201,
        status: { allowed },
      })
    }
  })

  test('any bytes as protobuf are a question or a 400, never anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          readKubernetesProtobuf(Buffer.concat([Buffer.from('k8s\0'), bytes]), { 2: ['spec', { 1: ['verb', 'text'] }] })
        } catch (error) {
          expect(error).toMatchObject({ code: 400 })
        }
      }),
      { numRuns: 2_000 },
    )
  })
})
