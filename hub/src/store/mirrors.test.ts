import type { NodeStatus } from '@skerry/api'
import { createKey } from '@skerry/trust'
import { describe, expect, test } from 'vitest'
import { appendResults } from './attestations.ts'
import { openFleet } from './fleet.ts'
import { lockHeads, saveHeads, saveNodeStatuses } from './heads.ts'
import { saveIdentities, setIdentityState } from './identities.ts'
import { openMirror } from './mirrors.ts'
import { compactChanges, createObject, deleteObject, listObjects, updateObject } from './resources.ts'
import { appendStatements } from './statements.ts'
import { type Tx, write } from './store.ts'
import { openTestStore } from './testing.ts'

describe('a mirror of a kind', () => {
  const place = (name: string) => ({ metadata: { name }, spec: { leaseDurationSeconds: name.length } })

  async function setting() {
    const store = await openTestStore()
    const mirror = openMirror(store, 'ManagedCluster', ({ metadata }) => metadata.resourceVersion)
    const there = async () =>
      new Map(
        (await listObjects(store.sql, 'ManagedCluster')).map(({ metadata: m }) => [m.name, m.resourceVersion] as const),
      )
    return { store, mirror, there }
  }

  test.each<[string, (tx: Tx) => Promise<unknown>]>([
    ['an object that was made', (tx) => createObject(tx, 'ManagedCluster', place('new'))],
    [
      'one that was changed',
      (tx) => updateObject(tx, 'ManagedCluster', { ...place('b'), spec: { hubAcceptsClient: true } }),
    ],
    ['one that was deleted', (tx) => deleteObject(tx, 'ManagedCluster', '', 'a')],
    [
      'one that was deleted and made again',
      async (tx) => {
        await deleteObject(tx, 'ManagedCluster', '', 'a')
        await createObject(tx, 'ManagedCluster', place('a'))
      },
    ],
    [
      'more changes than are read at a time',
      async (tx) => {
        for (let n = 0; n < 1_100; n += 1)
          await updateObject(tx, 'ManagedCluster', { ...place('b'), spec: { leaseDurationSeconds: n + 5 } })
        await deleteObject(tx, 'ManagedCluster', '', 'a')
      },
    ],
    [
      'changes that are no longer in the history',
      async (tx) => {
        await updateObject(tx, 'ManagedCluster', { ...place('b'), spec: { hubAcceptsClient: true } })
        await deleteObject(tx, 'ManagedCluster', '', 'a')
        await createObject(tx, 'ManagedClusterSet', { metadata: { name: 'later' }, spec: {} })
        await compactChanges(tx, 0)
      },
    ],
    [
      'a database that was put back to an earlier time',
      async (tx) => {
        await tx`delete from resource where name = 'a'`
        await tx`delete from resource_change`
      },
    ],
  ])('shows %s as the list does', async (_, act) => {
    const { store, mirror, there } = await setting()
    await write(store, async (tx) => {
      for (const name of ['a', 'b']) await createObject(tx, 'ManagedCluster', place(name))
    })
    expect(new Map(await mirror())).toEqual(await there())
    await write(store, act)
    expect(new Map(await mirror())).toEqual(await there())
    expect(new Map(await mirror())).toEqual(await there())
  })

  test('a look that was handed out does not change under its reader', async () => {
    const { store, mirror } = await setting()
    await write(store, (tx) => createObject(tx, 'ManagedCluster', place('a')))
    const before = await mirror()
    expect([...before.keys()]).toEqual(['a'])
    await write(store, (tx) => createObject(tx, 'ManagedCluster', place('b')))
    expect([...(await mirror()).keys()]).toEqual(['a', 'b'])
    expect([...before.keys()]).toEqual(['a'])
  })

  test('after a look that failed the next one is whole', async () => {
    const { store, there } = await setting()
    await write(store, (tx) => createObject(tx, 'ManagedCluster', place('a')))
    let broken = false
    const mirror = openMirror(store, 'ManagedCluster', ({ metadata }) => {
      if (broken) throw new Error('broken')
      return metadata.resourceVersion
    })
    await mirror()
    await write(store, (tx) => createObject(tx, 'ManagedCluster', place('b')))
    broken = true
    await expect(mirror()).rejects.toThrow('broken')
    broken = false
    expect(new Map(await mirror())).toEqual(await there())
  })
})

describe('the fleet as it is remembered', () => {
  const id = { cluster: 'shop', node: 'till', incarnation: 1 }
  const said = (seq: number, kind: 'transition' | 'evidence', body: object, phase = '') => ({
    ...{ ...id, seq, prev: '', kind, phase, digest: `digest ${seq}` },
    text: JSON.stringify({ kind, ...id, seq, body }),
  })
  const says =
    (...statements: ReturnType<typeof said>[]) =>
    async (tx: Tx) => {
      await lockHeads(tx, [id])
      await appendStatements(tx, statements)
      const newestSeq = Math.max(...statements.map(({ seq }) => seq))
      await saveHeads(tx, [{ ...id, watermark: 0, newestSeq }])
    }
  const judged = (seq: number, bootId: string) => (tx: Tx) =>
    appendResults(tx, [
      {
        ...id,
        seq,
        bootId,
        verdict: 'warning',
        reason: 'r',
        message: 'm',
        evidence: { class: 'software-key', bootId, slot: 'a', imageSha256: 'i', nonce: '' },
        findings: [],
        pcrs: [],
        policyId: 'p',
        ear: 'e',
      },
    ])
  const status =
    (counter: number, incarnation = 1) =>
    (tx: Tx) => {
      const word = { phase: 'Idle', reason: 'Idle', message: '', at: '2026-06-01T00:00:00Z' } as const
      const boot = { booted: { imageSha256: 'i' }, slot: 'a', bootId: 'b', driver: 'slots' }
      const tuf = { root: 1, timestamp: 1, snapshot: 1, targets: 1 }
      const said: NodeStatus = {
        ...{
          kind: 'NodeStatus',
          ...id,
          incarnation,
          counter,
          seq: 1,
          ...word,
          ...boot,
          tuf,
          failed: [],
          agentVersion: '',
        },
      }
      return saveNodeStatuses(tx, [{ status: said, heardAt: new Date() }])
    }
  const identity = (incarnation: number) => (tx: Tx) => {
    const { jwk, thumbprint } = createKey('ES256')
    const at = new Date()
    return saveIdentities(tx, [
      {
        ...{
          ...id,
          incarnation,
          state: 'Accepted',
          class: 'software-key',
          nodeKey: jwk,
          nodeKeyThumbprint: thumbprint,
        },
        ...{ natsKey: `key ${incarnation}`, requestId: 'r', transcript: 't', acceptance: '', natsJwt: '' },
        ...{ credentialIssuedAt: at, credentialExpiresAt: at, decidedBy: 'test', decidedAt: at },
      },
    ])
  }

  test.each<[string, (tx: Tx) => Promise<unknown>]>([
    ['a statement', says(said(9, 'transition', { to: 'Staged' }, 'Staged'))],
    ['one that fills a gap and is the newest of its kind', says(said(4, 'transition', { to: 'Failed' }, 'Failed'))],
    ['a verdict on an old boot', judged(2, 'old')],
    ['a status', status(2)],
    ['a heartbeat', (tx) => lockHeads(tx, [id])],
    [
      'another life',
      async (tx) => {
        await identity(2)(tx)
        await lockHeads(tx, [{ ...id, incarnation: 2 }])
      },
    ],
    [
      'another life that said as much',
      async (tx) => {
        await identity(2)(tx)
        await lockHeads(tx, [{ ...id, incarnation: 2 }])
        await status(1, 2)(tx)
      },
    ],
    ['a node that left', (tx) => setIdentityState(tx, id, 'Left')],
  ])('shows %s as who reads everything does', async (_, act) => {
    const store = await openTestStore()
    const fleet = openFleet(store.sql)
    const whole = () => openFleet(store.sql)()
    await write(store, async (tx) => {
      await identity(1)(tx)
      await says(
        said(2, 'evidence', { imageSha256: 'i', bootId: 'old' }),
        said(3, 'transition', { to: 'Idle', bootId: 'old', imageSha256: 'i' }, 'Idle'),
        said(6, 'evidence', { imageSha256: 'j', bootId: 'new' }),
        said(7, 'transition', { to: 'Staged' }, 'Staged'),
      )(tx)
      await judged(6, 'new')(tx)
      await status(1)(tx)
    })
    expect(await fleet()).toEqual(await whole())
    const before = JSON.stringify(await whole())
    await write(store, act)
    // Otherwise the next line would say nothing.
    expect(JSON.stringify(await whole())).not.toBe(before)
    expect(await fleet()).toEqual(await whole())
  })

  test('a new life was not heard of until it speaks, whatever was heard of the one before', async () => {
    const store = await openTestStore()
    const heardAt = async () => (await openFleet(store.sql)())[0]?.lastHeardAt
    await write(store, async (tx) => {
      await identity(1)(tx)
      await lockHeads(tx, [id])
    })
    expect(await heardAt()).toBeInstanceOf(Date)
    await write(store, identity(2))
    expect(await heardAt()).toBeUndefined()
    await write(store, (tx) => lockHeads(tx, [{ ...id, incarnation: 2 }]))
    expect(await heardAt()).toBeInstanceOf(Date)
  })
})
