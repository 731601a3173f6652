// The owner's original loop: chunks of 50, Promise.all, a pause (BENCH_PAUSE, milliseconds) after each. Stores nothing.
import { inFlight, pusher, recipients, serve } from './job.mjs'

const push = await pusher()
const pause = Number(process.env.BENCH_PAUSE)
let ids

serve({
  async enqueue() {
    ids = await recipients()
  },
  async work() {
    for (let at = 0; at < ids.length; at += inFlight) {
      await Promise.all(ids.slice(at, at + inFlight).map(push))
      if (pause) await new Promise((resolve) => setTimeout(resolve, pause))
    }
  },
})
