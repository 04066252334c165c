import type { Connection } from '@skerry/supervise'
import { databaseToCopy, type TestDatabase, testDatabase } from '@skerry/supervise/testing'
import { onTestFinished } from 'vitest'
import { migrateStore, openStore, type Store } from './store.ts'

/**
 * A database of its own with this version's tables: a copy of one that was migrated once in the whole run, which costs a
 * third of migrating each. That an empty one is migrated is what tests of whole hubs begin with.
 */
export async function migratedDatabase(): Promise<TestDatabase> {
  migrated ??= databaseToCopy('migrated', migrateStore)
  return testDatabase(await migrated)
}
let migrated: Promise<string> | undefined

/** A migrated store on a database of its own, gone with the test. Another hub of the test opens a store on `connection`. */
export async function openTestStore(): Promise<Store & { readonly connection: Connection }> {
  const { connection, drop } = await migratedDatabase()
  const store = openStore(connection)
  onTestFinished(async () => {
    await store.close()
    await drop()
  })
  return { ...store, connection }
}
