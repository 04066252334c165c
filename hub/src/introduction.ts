import { join, resolve } from 'node:path'
import type { HubIntroduction } from '@skerry/api'
import type { Say } from '@skerry/supervise'
import { chooseAddresses, knownAddresses } from './addresses.ts'
import type { HubConfig } from './config.ts'
import { openCertificates } from './keys/certificates.ts'
import { type HubKeys, openKeys } from './keys/keys.ts'

/** What the offline signers must know of this hub: its public keys, CA and addresses. Makes them at the first call. */
export async function introduce(config: HubConfig, say: Say): Promise<HubIntroduction> {
  const dir = resolve(config.dataDir)
  const keys = openKeys(join(dir, 'keys'))
  const { caPem } = await openCertificates(join(dir, 'keys'), config.names)
  const addresses = knownAddresses(dir) ?? (await chooseAddresses(dir, config.port, say))
  const key = (jwk: HubKeys['ack']['jwk']) => [{ jwk, notBefore: '1970-01-01T00:00:00Z' }]
  const host = config.names[0] ?? '127.0.0.1'
  return {
    kind: 'HubIntroduction',
    hub: {
      kind: 'HubDescription',
      keys: {
        desiredState: key(keys.desiredState.jwk),
        ack: key(keys.ack.jwk),
        acceptance: key(keys.acceptance.jwk),
        result: key(keys.result.jwk),
      },
      caPem,
      apiUrls: [`https://${host}:${addresses.apiPort}`],
      natsUrls: [config.natsUrl ?? `${config.natsTls ? 'tls' : 'nats'}://${host}:${addresses.natsPort}`],
    },
    tuf: { snapshot: keys.snapshot.jwk, timestamp: keys.timestamp.jwk },
  }
}
