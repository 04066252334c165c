import { createHmac, timingSafeEqual } from 'node:crypto'
import { StatusError } from '../status-error.ts'

/** Where a list goes on: behind which object, and of which version its first page was. */
export type Place = { readonly version: number; readonly namespace: string; readonly name: string }

/** A token that only this hub can make and that continues only the list (`scope`) it was made for. */
export function makeContinue({ version, namespace, name }: Place, scope: readonly unknown[], secret: string): string {
  const body = Buffer.from(JSON.stringify([version, namespace, name])).toString('base64url')
  return `${body}.${sign(body, scope, secret)}`
}

/** StatusError 410 for a token of another list, of another hub, or of nobody. */
export function readContinue(token: string, scope: readonly unknown[], secret: string): Place {
  const [body = '', signature = ''] = token.split('.')
  const [given, wanted] = [Buffer.from(signature), Buffer.from(sign(body, scope, secret))]
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted))
    throw expired('the continue token is not of this list; list again from the start')
  const [version, namespace, name] = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as [
    number,
    string,
    string,
  ]
  return { version, namespace, name }
}

export function expired(message: string): StatusError {
  return new StatusError(410, message, { reason: 'Expired' })
}

function sign(body: string, scope: readonly unknown[], secret: string): string {
  return createHmac('sha256', secret)
    .update(JSON.stringify([body, ...scope]))
    .digest('base64url')
}
