# Reads the JUnit report of ctest. Prints "PASSED FAILED SKIPPED", and then a line for each skipped
# test with the last line of its output, which is where a test says why it cannot run.
#
# The counts in the report's head will not do: there, a test whose program is missing is a skipped
# one. Inside output "<" is written "&lt;", so a line that begins with a tag is one.

/^\t<testcase / {
    total++
    name = $0
    sub(/^[^"]*"/, "", name)
    sub(/".*/, "", name)
    reason = "it does not say why"
}
/^\t<testcase .* status="run">/ { passed++ }
/^\t<testcase .* status="disabled">/ { skipped[name] = "disabled" }
/^\t\t<skipped message="SKIP_/ { skipped[name] = reason }

/^\t\t<system-out>/ {
    in_output = 1
    sub(/^\t\t<system-out>/, "")
}
in_output && name in skipped {
    line = $0
    sub(/<\/system-out>.*/, "", line)
    gsub(/&lt;/, "<", line)
    gsub(/&gt;/, ">", line)
    gsub(/&quot;/, "\"", line)
    gsub(/&amp;/, "\\&", line)
    if (line ~ /[^[:space:]]/)
        skipped[name] = line
}
/<\/system-out>/ { in_output = 0 }

END {
    for (name in skipped)
        skips++
    print passed + 0, total - passed - skips, skips + 0
    for (name in skipped)
        print "  skipped " name ": " skipped[name]
}
