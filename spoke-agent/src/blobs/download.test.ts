import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { testFolder } from '@skerry/supervise/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { download } from './download.ts'

// An image's bytes come from whoever has them. What is used is what its digest says, and nothing else.

const image = randomBytes(300_000)
const wanted = { sha256: createHash('sha256').update(image).digest('hex'), length: image.length }

type Answer = (request: IncomingMessage, response: ServerResponse) => void
type Source = { readonly url: string; readonly asked: { range: string | undefined; headers: string[] }[] }

async function source(answer: Answer): Promise<Source> {
  const asked: Source['asked'] = []
  const server = createServer((request, response) => {
    asked.push({ range: request.headers.range, headers: Object.keys(request.headers) })
    answer(request, response)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  return { url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`, asked }
}

/** Gives bytes as a hub does: whole, or from where it is asked. */
const giving =
  (bytes: Buffer): Answer =>
  ({ headers }, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0)
    if (headers.range === undefined) return void response.end(bytes)
    response.writeHead(206, { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` })
    response.end(bytes.subarray(from))
  }
const never = new AbortController().signal
const fetchTo = (dir: string, ...sources: Source[]) =>
  download(
    dir,
    wanted,
    sources.map(({ url }) => url),
    never,
  )

test('brings the image and says where it is; a second time nobody is asked', async () => {
  const [dir, from] = [testFolder(), await source(giving(image))]
  const file = await fetchTo(dir, from)
  expect(readFileSync(file).equals(image)).toBe(true)
  expect(await fetchTo(dir, from)).toBe(file)
  expect(from.asked).toHaveLength(1)
})

test('says on the way how many bytes are here, also those of before', async () => {
  const dir = testFolder()
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, `${wanted.sha256}.part`), image.subarray(0, 100_000))
  const from = await source(giving(image))
  const told: number[] = []
  for (let times = 0; times < 2; times += 1)
    await download(dir, wanted, [from.url], never, { onProgress: (done) => void told.push(done) })
  expect(told[0]).toBe(100_000)
  expect(told).toEqual(told.toSorted((a, b) => a - b))
  expect(told.slice(-2)).toEqual([image.length, image.length])
})

test('a kept file that rotted is fetched anew', async () => {
  const [dir, from] = [testFolder(), await source(giving(image))]
  const file = await fetchTo(dir, from)
  writeFileSync(file, Buffer.concat([image.subarray(0, 100), Buffer.from('x'), image.subarray(101)]))
  expect(readFileSync(await fetchTo(dir, from)).equals(image)).toBe(true)
})

test('no credential goes to a source', async () => {
  const from = await source(giving(image))
  await fetchTo(testFolder(), from)
  expect(from.asked.flatMap(({ headers }) => headers)).not.toContain('authorization')
  expect(from.asked.flatMap(({ headers }) => headers)).not.toContain('cookie')
})

describe('goes on', () => {
  test.each([1, 4_096, image.length - 1])('from byte %d, where it stopped', async (at) => {
    const [dir, from] = [testFolder(), await source(giving(image))]
    writeFileSync(join(dir, `${wanted.sha256}.part`), image.subarray(0, at))
    expect(readFileSync(await fetchTo(dir, from)).equals(image)).toBe(true)
    expect(from.asked.map(({ range }) => range)).toEqual([`bytes=${at}-`])
  })

  test('with another source when one goes away in the middle', async () => {
    const dir = testFolder()
    const broken = await source((_, response) => {
      response.writeHead(200, { 'content-length': image.length })
      response.write(image.subarray(0, 100_000), () => response.destroy())
    })
    const whole = await source(giving(image))
    expect(readFileSync(await fetchTo(dir, broken, whole)).equals(image)).toBe(true)
    expect(whole.asked[0]?.range).toMatch(/^bytes=[1-9]\d*-$/)
  })

  test('from the start with a source that knows no ranges', async () => {
    const dir = testFolder()
    writeFileSync(join(dir, `${wanted.sha256}.part`), randomBytes(5_000))
    const from = await source((_, response) => response.end(image))
    expect(readFileSync(await fetchTo(dir, from)).equals(image)).toBe(true)
  })
})

describe('leaves a source that', () => {
  // A good source keeps it on a busy machine too; one that trickles brings a fifth of it.
  const SLOW = { bytes: 2_000, ms: 2_000 }
  const cases: Record<string, Answer> = {
    trickles: (_, response) => {
      response.writeHead(200, { 'content-length': image.length })
      let at = 0
      const timer = setInterval(() => response.write(image.subarray(at, ++at)), 5)
      response.once('close', () => clearInterval(timer))
    },
    'falls silent': (_, response) => {
      response.writeHead(200, { 'content-length': image.length })
      response.write(image.subarray(0, 1_000))
    },
    'never answers': () => {},
  }
  test.each(Object.keys(cases))('%s for the next one, which goes on from there', async (what) => {
    const [slow, whole] = [await source(cases[what] as Answer), await source(giving(image))]
    const file = await download(testFolder(), wanted, [slow.url, whole.url], never, { pace: SLOW })
    expect(readFileSync(file).equals(image)).toBe(true)
    expect(whole.asked[0]?.range).toEqual(
      what === 'never answers' ? undefined : expect.stringMatching(/^bytes=[1-9]\d*-$/),
    )
  })

  test('is the only one, and says how slow it was', async () => {
    const slow = await source(cases['trickles'] as Answer)
    await expect(download(testFolder(), wanted, [slow.url], never, { pace: SLOW })).rejects.toMatchObject({
      reason: 'ImageUnavailable',
      message: expect.stringContaining('fewer than 2000 bytes in 2 s'),
    })
  })
})

test('a source that keeps the pace is not left, however long it takes', async () => {
  const from = await source((_, response) => {
    let at = 0
    const timer = setInterval(() => {
      response.write(image.subarray(at, at + 30_000))
      at += 30_000
      if (at < image.length) return
      clearInterval(timer)
      response.end()
    }, 500)
  })
  const file = await download(testFolder(), wanted, [from.url], never, { pace: { bytes: 20_000, ms: 4_000 } })
  expect(readFileSync(file).equals(image)).toBe(true)
  expect(from.asked).toHaveLength(1)
})

describe('is not deceived by a source that', () => {
  const cases: Record<string, Answer> = {
    'sends other bytes': giving(randomBytes(image.length)),
    'sends more than was named': giving(Buffer.concat([image, Buffer.from('more')])),
    'sends less than was named': (_, response) => response.end(image.subarray(0, -1)),
    'sends one wrong byte': giving(Buffer.concat([image.subarray(0, -1), Buffer.from([(image.at(-1) ?? 0) ^ 1])])),
    'has no such blob': (_, response) => response.writeHead(404).end('{}'),
    'says that the range cannot be': (_, response) => response.writeHead(416).end(),
    'leads elsewhere': (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
    'never stops': (_, response) => {
      const more = () => response.write(Buffer.alloc(65_536)) && setImmediate(more)
      response.on('drain', more)
      more()
    },
  }
  test.each(Object.keys(cases))('%s', async (what) => {
    const dir = testFolder()
    const bad = await source(cases[what] as Answer)
    await expect(fetchTo(dir, bad)).rejects.toMatchObject({ of: 'surroundings' })
    expect(existsSync(join(dir, wanted.sha256))).toBe(false)
    // What came is not in the way of an honest source; a part of the right length must be tried before it shows its fault.
    const good = await source(giving(image))
    const file = await fetchTo(dir, bad, good).catch(() => fetchTo(dir, good))
    expect(readFileSync(file).equals(image)).toBe(true)
  })
})

test('when nobody has it, the reason says so and names the next step', async () => {
  await expect(download(testFolder(), wanted, [], never)).rejects.toMatchObject({
    of: 'surroundings',
    reason: 'ImageUnavailable',
  })
})

test('the image before is kept, and what is older goes', async () => {
  const [dir, from] = [testFolder(), await source(giving(image))]
  for (const [age, name] of [
    [300, 'oldest'],
    [100, 'before'],
    [50, 'other.part'],
  ] as const) {
    writeFileSync(join(dir, name), 'x')
    utimesSync(join(dir, name), new Date(Date.now() - age * 1000), new Date(Date.now() - age * 1000))
  }
  await fetchTo(dir, from)
  expect(readdirSync(dir).toSorted()).toEqual([wanted.sha256, 'before'].toSorted())
})

test('a full disk is NoSpace, and the download goes on when there is room', async ({ skip }) => {
  const dir = join(testFolder(), 'small')
  mkdirSync(dir)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200k', 'tmpfs', dir], { stdio: 'ignore' })
  } catch {
    skip('a small file system can be mounted by root alone')
  }
  onTestFinished(() => void execFileSync('umount', [dir]))
  const from = await source(giving(image))
  await expect(fetchTo(dir, from)).rejects.toMatchObject({ of: 'surroundings', reason: 'NoSpace' })
  execFileSync('mount', ['-o', 'remount,size=2m', dir])
  expect(readFileSync(await fetchTo(dir, from)).equals(image)).toBe(true)
})
