import { defineConfig } from 'drizzle-kit'

export default defineConfig({ dialect: 'postgresql', schema: './hub/src/store/schema.ts', out: './hub/src/migrations' })
