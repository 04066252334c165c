import { connect } from 'node:net'
import { until } from '@skerry/supervise'
import { expect, onTestFinished, test } from 'vitest'
import { plainListener } from './server.ts'
import { testApi } from './testing.ts'

/** Sends the beginning of a request and waits for the end of the connection; what came back is the answer. */
async function sendHalf(url: string, head: string): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let text = ''
  socket.on('data', (data) => {
    text += data.toString()
  })
  socket.on('error', () => undefined)
  socket.write(head)
  await new Promise<void>((done) => socket.once('close', () => done()))
  return text
}

test('a body that never ends is cut off in time, but an image may take as long as its link', async () => {
  const api = await testApi({ bodyMs: 300 })
  const url = await api.app.listen({ host: '127.0.0.1', port: 0 })
  const headers = (token: string) =>
    `host: x\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{`
  const sets = '/apis/cluster.open-cluster-management.io/v1beta2/managedclustersets'
  expect(await sendHalf(url, `POST ${sets} HTTP/1.1\r\n${headers(api.admin)}`)).not.toContain('201')
  await sendHalf(url, `POST /agent/v1/registrations HTTP/1.1\r\n${headers('')}`)

  let over = false
  const slow = sendHalf(url, `PUT /blobs/sha256/${'0'.repeat(64)} HTTP/1.1\r\n${headers(api.admin)}`).then(() => {
    over = true
  })
  // The short body above was cut after the same time; this one is still open when a second short one is cut.
  await sendHalf(url, `POST ${sets} HTTP/1.1\r\n${headers(api.admin)}`)
  expect(over).toBe(false)
  await api.app.close()
  await slow
})

test('whoever never ends the first lines of a request is cut off, over either door', async () => {
  const { app } = await testApi({ headersMs: 300 })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const plain = await plainListener(app, 0, 300)
  onTestFinished(() => plain.close())
  for (const each of [url, `http://127.0.0.1:${plain.port}`])
    expect(await sendHalf(each, 'GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ')).toMatch(/^HTTP\/1.1 408/)
})

test('while the database does not answer, neither does the hub for ever: 504 in Kubernetes’ words, and on it goes', async () => {
  const { ask, store } = await testApi({ answerMs: 500 })
  const sets = '/apis/cluster.open-cluster-management.io/v1beta2/managedclustersets'
  await store.sql.begin(async (tx) => {
    await tx`lock table resource in access exclusive mode`
    const { code, body, headers } = await ask('GET', sets)
    expect({ code, reason: body.reason, again: headers['retry-after'] }).toEqual({
      code: 504,
      reason: 'Timeout',
      again: '5',
    })
    expect(body.message).toContain('read before you ask again')
  })
  await until(async () => (await ask('GET', sets)).code === 200, 'an answer once the database is there again', 30_000)
})
