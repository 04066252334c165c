import type { Connection } from '@skerry/supervise'
import { testDatabase } from '@skerry/supervise/testing'
import { onTestFinished } from 'vitest'
import { migrateStore, openStore, type Store } from './store.ts'

/** A migrated store on a database of its own, gone with the test. Another hub of the test opens a store on `connection`. */
export async function openTestStore(): Promise<Store & { readonly connection: Connection }> {
  const { connection, drop } = await testDatabase()
  await migrateStore(connection)
  const store = openStore(connection)
  onTestFinished(async () => {
    await store.close()
    await drop()
  })
  return { ...store, connection }
}
