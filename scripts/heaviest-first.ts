import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

// A run on a new machine has no times of an earlier one to go by, and begins with the longest files. Those below take a
// minute and more because of the programs that they start and the disks that they wait for, however short they are: one
// that is begun last is waited for by itself.

const HEAVIEST = [
  'packages/cli/src/skerry.test.ts',
  'hub/src/hub.test.ts',
  'kind-e2e/src/registration.test.ts',
  'spoke-agent/src/drivers/uki/power-cut.test.ts',
  'kind-e2e/src/hardware.test.ts',
  'hub/src/controllers/rollout.test.ts',
  'hub/src/http/kubernetes/write.test.ts',
  'packages/cli/src/readme.test.ts',
  'kind-e2e/src/gap.test.ts',
  'spoke-agent/src/node/executor.test.ts',
  'hub/src/http/report-evidence.test.ts',
  'hub/src/kubectl.test.ts',
]

export class HeaviestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const places = HEAVIEST.map((file) => resolve(this.ctx.config.root, file))
    const gone = places.filter((place) => !existsSync(place))
    if (gone.length > 0) throw new Error(`scripts/heaviest-first.ts names what is not there: ${gone.join(', ')}`)
    const sorted = await super.sort(files)
    const rank = ({ moduleId }: TestSpecification) =>
      places.includes(moduleId) ? places.indexOf(moduleId) : places.length
    return sorted.toSorted((a, b) => rank(a) - rank(b))
  }
}
