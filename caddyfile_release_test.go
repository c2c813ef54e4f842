package proxyos

import (
	"fmt"
	"strings"
	"testing"
)

// The release begins on line 5, so its first subdirective is on line 6.
func TestWrongReleasesAreRejectedWhereTheyAreWritten(t *testing.T) {
	const (
		isOff    = "would switch the test off; write off if that is meant, or "
		percents = ` is not a percentage; write one such as 25 or 0.5%`
		oneStep  = ` is not above 0 and at most 100; write the percentage of requests for staging`
		rising   = "; write rising percentages, such as 1 5 25 50 100"
		factor   = `; write how many times as often as production is tolerated, such as 1.5, or off (0 in JSON)`
		sure     = " is outside 50 to 99.999; write how sure to be as a percentage, such as 99"
		aURL     = ` is not the URL of an HTTP server; write one such as https://hooks.example.com/releases`
		tooLong  = "; write a shorter hold or a longer deadline"
		takes    = "steps, hold, min_requests, errors, slower, max_errors, confidence, approve, deadline, on_fail, notify and dry_run"
	)
	for _, c := range []struct {
		name, block, want string
		line              int
	}{
		{"an unknown subdirective", "weight 3", `unrecognized subdirective "weight" of release; it takes ` + takes, 6},
		{"a mistyped subdirective", "step 3", `unrecognized subdirective "step"; did you mean steps?`, 6},
		{"one in the next line", "hold 1m\nnotify_url x", `unrecognized subdirective "notify_url" of release; it takes ` + takes, 7},

		{"no steps", "steps", "steps: wrong argument count; write `steps <percent...>`", 6},
		{"steps twice", "steps 1\nsteps 2", "steps is already specified; write it once", 7},
		{"a step of 0", "steps 0 5", `release: steps: "0"` + oneStep, 6},
		{"a step below 0", "steps -5", `release: steps: "-5"` + oneStep, 6},
		{"a step above 100", "hold 1m\nsteps 50 150%", `release: steps: "150"` + oneStep, 7},
		{"steps that fall", "steps 5 1", `release: steps: "1" comes after 5` + rising, 6},
		{"a step that is there twice", "steps 5 5", `release: steps: "5" comes after 5` + rising, 6},
		{"steps with commas", "steps 1, 5", `steps: "1,"` + percents, 6},
		{"a step in words", "steps half", `steps: "half"` + percents, 6},
		{"a step that is no number", "steps NaN", `steps: "NaN"` + percents, 6},

		{"a hold that is no duration", "hold 10", `hold: "10" is not a duration; write one such as 10m`, 6},
		{"two holds in one", "hold 1m 2m", "hold: wrong argument count; write `hold <duration>`", 6},
		{"a hold below 0", "hold -1m", `release: hold: "-1m0s" is below 0; write how long each step lasts at least, such as 10m`, 6},
		{"a hold of nothing", "hold 10ns", `release: hold: "10ns" is below 1ms; write how long each step lasts at least, with its unit, such as 10m`, 6},
		{"a hold beyond the deadline", "hold 2d", `release: hold: "48h0m0s" is not below the deadline of 24h0m0s` + tooLong, 6},
		{"holds beyond the deadline in all", "steps 1 2 3\nhold 8h", `release: hold: "8h0m0s" on each of 3 steps takes longer than the deadline of 24h0m0s` + tooLong, 7},
		{"a deadline below the default holds", "deadline 50m", `release: hold: "10m0s" on each of 5 steps takes longer than the deadline of 50m0s` + tooLong, 5},
		{"a deadline of 0", "deadline 0s", `release: deadline: "0s" is not above 0; write how long the release may take, such as 24h`, 6},
		{"a deadline in words", "deadline tomorrow", `deadline: "tomorrow" is not a duration; write one such as 24h`, 6},

		{"min_requests 0", "min_requests 0", `release: min_requests: "0" is not from 1 to 1000000000000; write how many requests staging must answer on each step, such as 300`, 6},
		{"min_requests below 0", "min_requests -1", `release: min_requests: "-1" is not from 1 to 1000000000000; write how many requests staging must answer on each step, such as 300`, 6},
		{"min_requests in words", "min_requests few", `min_requests: "few" is not a whole number`, 6},
		{"no min_requests", "min_requests", "min_requests: wrong argument count; write `min_requests <n>`", 6},

		{"errors below 1", "errors 0.5x", `release: errors: "0.5" is outside 1 to 100` + factor, 6},
		{"errors above 100", "errors 101", `release: errors: "101" is outside 1 to 100` + factor, 6},
		{"errors 0", "errors 0x", `errors: "0x" ` + isOff + "a factor such as 1.5x", 6},
		{"errors as a percentage", "errors 150%", `errors: "150%" is not a factor; write one such as 1.5x, or off`, 6},
		{"errors on", "errors on", `errors: "on" is not a factor; write one such as 1.5x, or off`, 6},
		{"no errors", "errors", "errors: wrong argument count; write `errors <factor>[x] | errors off`", 6},
		{"slower below 1", "slower 0.9", `release: slower: "0.9" is outside 1 to 100` + factor, 6},
		{"slower 0", "slower 0", `slower: "0" ` + isOff + "a factor such as 1.5x", 6},
		{"slower by a time", "slower 100ms", `slower: "100ms" is not a factor; write one such as 1.5x, or off`, 6},
		{"slower and more", "slower 1.5 x", "slower: wrong argument count; write `slower <factor>[x] | slower off`", 6},
		{"max_errors 0", "max_errors 0%", `max_errors: "0%" ` + isOff + "a percentage such as 5%", 6},
		{"max_errors as a fraction", "max_errors 0.05", `max_errors: 0.05 is less than one percent; write 0.05% if that is meant, or a percentage such as 5%`, 6},
		{"max_errors 100", "max_errors 100", `release: max_errors: "100" is not above 0 and below 100; write a percentage of the requests, such as 5, or off (0 in JSON)`, 6},
		{"max_errors in words", "max_errors few", `max_errors: "few" is not a percentage; write one such as 5%, or off`, 6},
		{"no max_errors", "max_errors", "max_errors: wrong argument count; write `max_errors <percent>[%] | max_errors off`", 6},
		{"all tests off", "errors off\nslower off\nmax_errors off", "release: errors, slower and max_errors are all off, so nothing would ever stop the release; switch one of them on, such as errors 1.5", 5},
		{"confidence as a fraction", "confidence 0.99", `release: confidence: "0.99"` + sure, 6},
		{"confidence of 100 %", "confidence 100%", `release: confidence: "100"` + sure, 6},
		{"confidence in words", "confidence high", `confidence: "high" is not a percentage; write one such as 99%`, 6},
		{"no confidence", "confidence", "confidence: wrong argument count; write `confidence <percent>[%]`", 6},

		{"approval of what is no step", "approve 10", `release: approve: "10" is not one of the steps [1 5 25 50 100]; write one of them`, 6},
		{"approval of the first step", "approve 1", `release: approve: "1" is the first step, which begins when somebody starts the release; leave it out`, 6},
		{"approval twice", "approve 50 50", `release: approve: "50" is there twice; write it once`, 6},
		{"approval of no step", "approve", "approve: wrong argument count; write `approve <percent...>`", 6},

		{"on_fail that is not known", "on_fail stop", `release: on_fail: "stop" is not known; write "rollback" or "pause"`, 6},
		{"on_fail of an empty text", `on_fail ""`, `on_fail: "" is not known; write "rollback" or "pause"`, 6},
		{"both of on_fail", "on_fail rollback pause", "on_fail: wrong argument count; write `on_fail rollback | pause`", 6},
		{"notify with another scheme", "notify ftp://a/b", `release: notify: "ftp://a/b"` + aURL, 6},
		{"notify without a scheme", "notify hooks.example.com/x", `release: notify: "hooks.example.com/x"` + aURL, 6},
		{"notify without a host", "notify https:///x", `release: notify: "https:///x"` + aURL, 6},
		{"notify with only a port", "notify https://:443/x", `release: notify: "https://:443/x"` + aURL, 6},
		{"notify with a port that is none", "notify http://a:65536/", `release: notify: "http://a:65536/"` + aURL, 6},
		{"notify of an empty text", `notify ""`, `notify: ""` + aURL, 6},
		{"two URLs", "notify http://a http://b", "notify: wrong argument count; write `notify <url>`", 6},
		{"dry_run with an argument", "dry_run on", "dry_run: wrong argument count; write `dry_run`", 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkRejected(t, "name x\nstaging b:1\nrelease {\n"+c.block+"\n}", c.want, c.line)
		})
	}
	for _, c := range []struct {
		name, block, want string
		line              int
	}{
		{"a release twice", "name x\nstaging b:1\nrelease\nrelease", "release is already specified; write it once", 6},
		{"a release with arguments", "name x\nstaging b:1\nrelease 5 10", "release: wrong argument count; write `release {...}`", 5},
		{"a mistyped release", "name x\nstaging b:1\nrelaese", `unrecognized subdirective "relaese"; did you mean release?`, 5},
		{"a release without a name", "staging b:1\nrelease", "release: the route has no name to start it by; add `name <name>`, or remove release", 2},
		{"a release without staging", "name x\nrelease", "release: there is no staging group; add `staging <addresses...>`, or remove release", 2},
		{"a release without either", "release", "release: the route has no name to start it by; add `name <name>`, or remove release", 2},
	} {
		t.Run(c.name, func(t *testing.T) { checkRejected(t, c.block, c.want, c.line) })
	}
}

// checkRejected checks that a directive with a block, which begins on line 3, is rejected while it is
// adapted.
func checkRejected(t *testing.T, block, want string, line int) {
	t.Helper()
	config, err := adapt(site("proxyos a:1 {\n" + block + "\n}"))
	if err == nil {
		t.Fatalf("accepted as %s", config)
	}
	if want := fmt.Sprintf("parsing caddyfile tokens for 'proxyos': %s, at Caddyfile:%d", want, line); err.Error() != want {
		t.Errorf("\ngot  %s\nwant %s", err, want)
	}
}

func TestAMistakeInAnImportedReleaseNamesItsLine(t *testing.T) {
	_, err := adapt("(steps) {\n\trelease {\n\t\tsteps 5 {args[:]}\n\t}\n}\n" + site("proxyos a:1 {\nname x\nstaging b:1\nimport steps 3\n}"))
	if err == nil || !strings.HasSuffix(err.Error(), `release: steps: "3" comes after 5; write rising percentages, such as 1 5 25 50 100, at Caddyfile:3 import chain ['Caddyfile:10 (import steps)']`) {
		t.Error(err)
	}
}
