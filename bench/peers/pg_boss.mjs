// pg-boss, batches of 2,000, four workers that fetch on while batches come full. One job per recipient.
import { PgBoss } from 'pg-boss'
import { databaseUrl, pusher, recipients, serve } from './job.mjs'

const push = await pusher()
const boss = new PgBoss({ connectionString: databaseUrl })
boss.on('error', console.error)
await boss.start()
await boss.createQueue('push')

serve({
  async enqueue() {
    const ids = await recipients()
    for (let at = 0; at < ids.length; at += 10_000) {
      await boss.insert('push', ids.slice(at, at + 10_000).map((id) => ({ data: { id } })))
    }
  },
  async work() {
    const options = { batchSize: 2000, pollingIntervalSeconds: 0.5, burstWhenBatchFull: true }
    for (let worker = 0; worker < 4; worker++) {
      await boss.work('push', options, (jobs) => Promise.all(jobs.map(({ data }) => push(data.id))))
    }
  },
})
