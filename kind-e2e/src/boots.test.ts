import { expect, test } from 'vitest'
import { assertActivatedOnce, type Boot } from './boots.ts'

const IMAGES = ['one', 'two', 'three']
/** `two:2` is a boot of image two on trial with two tries left. */
const boots = (...told: string[]): Boot[] =>
  told.map((text, index) => {
    const [imageSha256 = '', tries] = text.split(':')
    return { bootId: `b${index}`, slot: 'a', imageSha256, ...(tries ? { triesLeft: Number(tries) } : {}) }
  })

test.each<[string, Boot[]]>([
  ['each once', boots('one', 'two:2', 'three:2')],
  ['with a power cut on trial and another after it', boots('one', 'one', 'two:2', 'two:1', 'two', 'three:2', 'three')],
  ['a first try that was spent before it was told', boots('one', 'two:1', 'three:2')],
])('%s is activated once', (_, done) => expect(() => assertActivatedOnce('shop', done, IMAGES)).not.toThrow())

test.each<[string, Boot[], string]>([
  ['armed again while on trial', boots('one', 'two:2', 'two:2', 'three:2'), 'image 2 was activated twice'],
  [
    'armed again after it was confirmed',
    boots('one', 'two:2', 'two', 'two:2', 'three:2'),
    'image 2 was activated twice',
  ],
  ['armed again after a newer one', boots('one', 'two:2', 'three:2', 'two:2'), 'went back to an older image'],
  ['fallen back', boots('one', 'two:2', 'two:1', 'two:0', 'one', 'three:2'), 'went back to an older image'],
  ['never booted', boots('one', 'two:2'), 'image 3 never booted on trial'],
  ['booted without a trial', boots('one', 'two', 'three:2'), 'image 2 never booted on trial'],
  ['of other bytes', boots('one', 'zwei:2', 'three:2'), 'bytes that nobody ordered'],
  ['one boot told twice', [...boots('one', 'two:2', 'three:2'), ...boots('one')], 'a boot id is there twice'],
])('%s is seen', (_, done, says) => expect(() => assertActivatedOnce('shop', done, IMAGES)).toThrow(says))
