import { createHash } from 'node:crypto'
import type { NodeClass, SiteBundle, SpecFor } from '@skerry/api'
import { rootThumbprint } from '@skerry/trust'

export type TokenWish = {
  readonly ttlMs: number
  readonly uses: number
  readonly classes: readonly NodeClass[]
  readonly clusterSet: string | undefined
  readonly cluster: string | undefined
  readonly automatic: boolean
}

/** A JoinToken's spec for a secret that stays with whoever made it: the hub is told its hash. */
export function joinTokenSpec(secret: string, wish: TokenWish, nowMs: number): SpecFor<'JoinToken'> {
  return {
    secretSha256: createHash('sha256').update(secret).digest('hex'),
    expiresAt: new Date(nowMs + wish.ttlMs).toISOString(),
    maxUses: wish.uses,
    classes: [...wish.classes],
    acceptance: wish.automatic ? 'Automatic' : 'Manual',
    ...(wish.clusterSet === undefined ? {} : { clusterSet: wish.clusterSet }),
    ...(wish.cluster === undefined ? {} : { cluster: wish.cluster }),
  }
}

/** What goes to a machine: whom it trusts, where it knocks, and with which token. */
export function siteBundle(
  root: Uint8Array,
  {
    hubUrls,
    caPem,
    token,
  }: { readonly hubUrls: readonly string[]; readonly caPem: string | undefined; readonly token: string },
): SiteBundle {
  return {
    kind: 'SiteBundle',
    acceptHub: rootThumbprint(root),
    root: Buffer.from(root).toString('utf8'),
    hubUrls: [...hubUrls],
    ...(caPem === undefined ? {} : { caPem }),
    token,
  }
}
