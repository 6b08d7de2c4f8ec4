// No cache: two runs share this folder.
export default {
  test: {
    include: ["suite.test.mjs"],
    cache: false,
    watch: false,
    testTimeout: 30000,
    hookTimeout: 30000,
  },
}
