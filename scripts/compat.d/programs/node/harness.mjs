// The frame of the Node programs, in the manner of ../harness.py: named cases, told line by line.
import { randomBytes } from 'node:crypto'

export const BOOTSTRAP = process.env.COMPAT_BOOTSTRAP ?? '127.0.0.1:9092'
const cases = new Map()

export class Skip extends Error {}

export function test(name, body) {
  cases.set(name, body)
}

export const unique = (label) => `${label}-${randomBytes(4).toString('hex')}`
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

export function holds(condition, what) {
  if (!condition) throw new Error(what)
}

export function same(actual, expected, what) {
  const show = (value) =>
    JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? Number(item) : item))
  if (show(actual) !== show(expected)) {
    throw new Error(`${what}: ${show(actual)?.slice(0, 300)}, expected ${show(expected)?.slice(0, 300)}`)
  }
}

export async function fails(promise, what) {
  let value
  try {
    value = await promise
  } catch (error) {
    return error
  }
  throw new Error(`${what}: no error, but ${value}`)
}

export async function until(condition, what, seconds = 30) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const value = await condition()
    if (value) return value
    holds(Date.now() < deadline, `not within ${seconds} s: ${what}`)
    await sleep(50)
  }
}

export async function main() {
  if (process.argv.includes('--list')) {
    console.log([...cases.keys()].join('\n'))
    return
  }
  const names = process.env.COMPAT_CASES?.split(',') ?? [...cases.keys()]
  let failed = 0
  for (const name of names) {
    console.log(`@run ${name}`)
    try {
      await cases.get(name)(unique(name.replaceAll('_', '-')))
      console.log(`@passed ${name}`)
    } catch (error) {
      if (error instanceof Skip) {
        console.log(`@skipped ${name} ${error.message}`)
        continue
      }
      failed += 1
      console.log(error)
      console.log(`@failed ${name} ${error.constructor.name}: ${error.message}`.replaceAll('\n', ' '))
    }
  }
  // Clients may leave timers and sockets behind.
  process.exit(failed ? 1 : 0)
}
