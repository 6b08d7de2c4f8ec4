// client.mjs URL: the protocol's own client, unmodified, while client.py kills and restarts the server.
//
// One producer sends numbered messages without a pause; one reader follows by SSE, one by long
// polling. client.py says "enough" on standard input, then the producer closes the stream and everybody
// has to have seen each message once, in order. The client's producer leaves connections that fail to the
// fetch() it is given: the one here sends the same request again, which is what producers' numbers are
// for.
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client"
import { createInterface } from "node:readline"

const url = `${process.argv[2]}/v1/stream/client`
const PENDING_MAX = 20
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const reasonOf = (error) => error?.cause?.code ?? error?.message ?? String(error)

let enough = false
createInterface({ input: process.stdin }).on("line", () => (enough = true))

const seen = { sent: 0, again: 0, reconnected: 0 }

async function persistentFetch(target, init) {
  for (;;) {
    try {
      const response = await fetch(target, init)
      if (response.status < 500) return response
    } catch (error) {
      if (!(error instanceof TypeError)) throw error
    }
    seen.again++
    await sleep(20)
  }
}

async function produce() {
  const target = new DurableStream({ url, contentType: "application/json" })
  let failed
  const producer = new IdempotentProducer(target, "client-test", {
    fetch: persistentFetch,
    lingerMs: 2,
    maxInFlight: 5,
    onError: (error) => (failed ??= error),
  })
  while (!enough && !failed) {
    producer.append(JSON.stringify({ n: seen.sent++, text: "x".repeat(seen.sent % 300) }))
    if (producer.inFlightCount >= PENDING_MAX) await producer.flush()
    else if (seen.sent % 3 === 0) await sleep(1)
  }
  if (failed) throw failed
  await producer.close(JSON.stringify({ n: seen.sent++, text: "the last" }))
}

// Followers reconnect by themselves, with the client's own patience.
async function countingFetch(target, init) {
  try {
    return await fetch(target, init)
  } catch (error) {
    seen.reconnected++
    throw error
  }
}

// Goes on behind the last batch it has been given, as an application does that keeps its place. A
// response says that it is closed when the last batch has come, which may be before it was handed out.
async function follow(live) {
  const numbers = []
  const backoffOptions = { initialDelay: 10, maxDelay: 200, multiplier: 1.3 }
  let offset = "-1"
  let session = 0
  for (;;) {
    const mine = ++session
    try {
      const response = await stream({ url, offset, live, backoffOptions, fetch: countingFetch })
      response.subscribeJson((batch) => {
        if (mine !== session) return
        numbers.push(...batch.items.map((item) => item.n))
        offset = batch.offset
      })
      await response.closed
      for (let i = 0; i < 200 && offset !== response.offset; i++) await sleep(10)
      if (response.streamClosed) return numbers
    } catch (error) {
      console.log(`${live}: ${reasonOf(error)}, going on at ${offset}`)
      session++
      await sleep(20)
    }
  }
}

// Without live mode the client asks once: what a service gives at a time is a chunk, and whether that was
// all is in the response.
async function catchUp() {
  const numbers = []
  let offset = "-1"
  for (;;) {
    const response = await stream({ url, offset, live: false })
    numbers.push(...(await response.json()).map((item) => item.n))
    offset = response.offset
    if (response.upToDate) return numbers
  }
}

function check(who, numbers) {
  const wrong = numbers.findIndex((n, i) => n !== i)
  if (wrong >= 0) throw new Error(`${who}: message ${numbers[wrong]} stands where ${wrong} belongs`)
  if (numbers.length !== seen.sent) throw new Error(`${who}: ${numbers.length} messages of ${seen.sent}`)
}

await DurableStream.create({ url, contentType: "application/json", fetch: persistentFetch })
console.log("event=writing")
const [, bySse, byLongPoll] = await Promise.all([produce(), follow("sse"), follow("long-poll")])
check("catch-up", await catchUp())
check("sse", bySse)
check("long-poll", byLongPoll)
const head = await DurableStream.head({ url })
if (!head.streamClosed) throw new Error("the stream is not closed")
console.log(`event=done messages=${seen.sent} requests_again=${seen.again} connections_lost=${seen.reconnected}`)
process.exit(0)
