#!/usr/bin/env node
import module from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { launch } from '../../../scripts/launch.mjs'

// Types are taken out once, not at every command. The folder is the user's own: what lies there is run.
module.enableCompileCache?.(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'skerry', 'compiled'))
await launch(new URL('../src/main.ts', import.meta.url).href)
