import { openSigningFolder, rootThumbprint } from '@skerry/trust'
import { bytesOf } from './read.ts'

/** Root 1 as a person has it: a signers' folder's, or a file's from elsewhere. undefined where neither is named. */
export function rootGiven({
  trust,
  root,
}: {
  trust?: string | undefined
  root?: string | undefined
}): Uint8Array | undefined {
  if (trust !== undefined) return openSigningFolder(trust).root
  return root === undefined ? undefined : bytesOf(root)
}

/** Why a hub's root 1 is not the one that was meant, and what can be done; undefined when it is, or there is none yet. */
export function otherRoot(hubs: Uint8Array | undefined, meant: string): string | undefined {
  if (!hubs || rootThumbprint(hubs) === meant) return undefined
  return (
    `this hub follows another root 1 for ever: thumbprint ${rootThumbprint(hubs)}, not ${meant}. ` +
    'Is it the right hub? Then take its own signers’ folder: "skerry trust status --trust FOLDER" shows a folder’s thumbprint. ' +
    'Are these the right signers? Then name their hub (--context or --server), or start one for them on an empty --data folder'
  )
}
