// The published suite as it is, on the server that CONFORMANCE_TEST_URL names. Its own command line
// finds no tests, so they are called from here.
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

runConformanceTests({ baseUrl: process.env.CONFORMANCE_TEST_URL })
