// What every Node contestant shares: the recipients, the one PUT per recipient, and the harness's commands.
// Environment: DATABASE_URL, SINK_URL, BENCH_TEXT, BENCH_CLIENT (undici or axios), BENCH_IN_FLIGHT.
import { createInterface } from 'node:readline'
import pg from 'pg'

export const databaseUrl = process.env.DATABASE_URL
export const inFlight = Number(process.env.BENCH_IN_FLIGHT)
const text = process.env.BENCH_TEXT
const headers = { authorization: 'token', accept: 'application/json', 'content-type': 'application/json' }
const path = '/members/member'

/** The PassKit ids of all installed passes. */
export async function recipients() {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  const { rows } = await client.query(
    "select passkit_internal_id as id from public.passes_master where status = 'INSTALLED' order by id",
  )
  await client.end()
  return rows.map((row) => row.id)
}

/** A function that pushes one recipient. */
export async function pusher() {
  const origin = process.env.SINK_URL
  const body = (id) => JSON.stringify({ id, metaData: { marketingMessage: text } })
  if (process.env.BENCH_CLIENT === 'axios') {
    const { default: axios } = await import('axios')
    return (id) => axios.put(origin + path, body(id), { headers })
  }
  const { Pool } = await import('undici')
  const pool = new Pool(origin, { connections: inFlight })
  return async (id) => {
    const answer = await pool.request({ method: 'PUT', path, headers, body: body(id) })
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`)
    await answer.body.text()
  }
}

/** Obey the harness: a line `enqueue` or `work` is answered with the same word; the end of input ends the process. */
export function serve(commands) {
  console.log('ready')
  createInterface({ input: process.stdin })
    .on('line', async (line) => {
      await commands[line]()
      console.log(line)
    })
    .on('close', () => process.exit(0))
}
