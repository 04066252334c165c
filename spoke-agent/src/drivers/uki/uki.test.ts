import { testFolder } from '@skerry/supervise/testing'
import { driverContract } from '../test-contract.ts'
import { ukiMachine } from './testing.ts'

driverContract('uki', () => {
  const machine = ukiMachine(testFolder())
  return {
    open: () => machine.on(),
    image: (version, behaviour) => machine.image(version, behaviour),
    factory: machine.factory,
  }
})
