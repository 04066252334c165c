import { boundMemory } from './memory.ts'

// The entry of skerry-hub. How much memory it may hold is settled before anything else of it is loaded.

boundMemory()
await import('./program.ts')
