package same

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// samePair is one request to one configuration, and what its upstreams answer.
type samePair struct {
	request *sameRequest
	answer  *sameAnswer
}

// stockHasARace tells whether the race detector looks on while reverse_proxy has a race of its own: where an answer
// comes before the body of the request is read, Caddy logs how much was read while its transport goes on reading.
func (p *samePair) stockHasARace() bool {
	return lab.Sized(0, 0, 1) == 1 && p.answer.early && p.request.framing != ""
}

// seenBy sends the request in all ways at once, and returns what is seen in each; nil of a way that must not be taken.
func (p *samePair) seenBy(s *server, run *sameRun) []*sameSeen {
	all := make([]*sameSeen, len(run.ways))
	var running sync.WaitGroup
	for i, way := range run.ways {
		if way.kind == "stock" && p.stockHasARace() {
			continue
		}
		running.Go(func() { all[i] = way.try(s, p.request, p.answer) })
	}
	running.Wait()
	return all
}

// differences describes how the ways differ in what is seen of the pair, or is empty. steady
// tells whether the first try was enough to know.
func (p *samePair) differences(t *testing.T, s *server, run *sameRun) (text string, steady bool) {
	t.Helper()
	var first looks
	each := make([]int, sameRepeats)
	for i := range each {
		each[i] = i + 1
	}
	chance := first.until(each, longestLook, func() { first.note(p, p.seenBy(s, run)) })
	if chance == "" {
		return "", first.tries == 1 && !first.forgotten
	}
	time.Sleep(marksLast)
	for range sameRepeats { // what it has left behind ends with these
		first.note(p, p.seenBy(s, run))
	}
	afresh := looks{stock: first.stock.again(), ours: first.ours.again(), slow: first.slow.again(), fast: first.fast.again()}
	if text = afresh.until(run.judgedAfter, longestLook, func() { afresh.note(p, p.seenBy(s, run)) }); text == "" {
		t.Logf("by chance, and not once more, a pair differed; %s\nrequest %s\nanswer %s\nconfiguration %s", chance, p.request, p.answer, run.config)
	}
	return text, false
}

// looks are what was seen of a pair in several tries, by way.
type looks struct {
	stock, ours, slow, fast outcomes
	tries                   int
	forgotten               bool // not all of it was compared
}

// note adds what was seen in all ways.
func (l *looks) note(p *samePair, all []*sameSeen) {
	l.tries++
	l.slow.note(all[len(all)-2])
	l.fast.note(all[len(all)-1])
	if len(all) == 3 && all[0] != nil {
		p.allow(all[0], all[1])
		l.stock.note(all[0])
		l.ours.note(all[1])
	}
	l.forgotten = l.forgotten || all[1].forgotten || all[0] == nil
}

// until tries until nothing differs any more after one of these numbers of tries, and describes what does after
// the last of them, or after so long.
func (l *looks) until(judged []int, longest time.Duration, try func()) (text string) {
	for began := time.Now(); ; {
		try()
		isLast := l.tries >= judged[len(judged)-1] || time.Since(began) >= longest
		if !isLast && !slices.Contains(judged, l.tries) {
			continue
		}
		if text = l.slow.difference(&l.fast) + l.stock.difference(&l.ours); text == "" || isLast {
			return text
		}
	}
}

// maxFound is how many pairs of one Caddy may differ before it is enough: each is tried very often.
const maxFound = 3

// check runs pairs one after the other, and reports how the ways differ. again says how to
// run the same pairs once more.
func (run *sameRun) check(t *testing.T, s *server, pairs []*samePair, again string, found *atomic.Int32) {
	t.Helper()
	run.isSteady = true
	for i, p := range pairs {
		if n := found.Load(); n >= maxFound {
			t.Errorf("%d pairs differ, so %d others are not tried", n, len(pairs)-i)
			break
		}
		text, steady := p.differences(t, s, run)
		run.isSteady = run.isSteady && steady && p.answer.ending != "reset"
		if text != "" {
			found.Add(1)
			t.Errorf("pair %d differs; %s\n%s\nrequest %s\nanswer %s\nconfiguration %s\n%s", i, again, text, p.request, p.answer, run.config, strings.Repeat("-", 80))
		}
	}
}

// checkMetrics compares what the metrics say after all the pairs.
func checkMetrics(t *testing.T, s *server, runs []*sameRun) {
	t.Helper()
	res, err := s.Client.Get("http://" + s.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		if !run.isSteady {
			continue // what differed by chance was counted
		}
		var all [][]string
		for _, way := range run.ways {
			all = append(all, way.metrics(string(page)))
		}
		slow, fast := all[len(all)-2], all[len(all)-1]
		if len(slow) == 0 {
			t.Errorf("there are no metrics of %s", run.label)
		}
		text := metricDifference("slow", slow, "fast", fast)
		if len(all) == 3 {
			text += metricDifference("stock", comparable(all[0]), "slow", comparable(slow))
		}
		if text != "" {
			t.Errorf("%s\nconfiguration %s", text, run.config)
		}
	}
}

// comparable returns the metrics that reverse_proxy has, too, without the handler's name.
func comparable(lines []string) (kept []string) {
	for _, line := range lines {
		if !strings.HasPrefix(line, "caddy_proxyos_") {
			kept = append(kept, strings.ReplaceAll(line, `handler="reverse_proxy"`, `handler="proxyos"`))
		}
	}
	return kept
}

// checkAll runs the pairs of each configuration, several configurations at a time.
func checkAll(t *testing.T, configs []*sameConfig, pairs func(i int) (pairs []*samePair, again string)) {
	t.Helper()
	s, runs := newSameRuns(t, configs...)
	var found atomic.Int32
	turns := make(chan bool, 3)
	tests := make(map[string]func(*testing.T))
	for i, run := range runs {
		tests[fmt.Sprint("pairs/", i)] = func(t *testing.T) {
			turns <- true
			defer func() { <-turns }()
			all, again := pairs(i)
			run.check(t, s, all, again, &found)
		}
	}
	proxytest.Together(t, tests)
	checkMetrics(t, s, runs)
}

// metricDifference describes how metrics differ, or is empty.
func metricDifference(a string, linesA []string, b string, linesB []string) string {
	var text strings.Builder
	for _, line := range linesA {
		if !slices.Contains(linesB, line) {
			text.WriteString("metrics, only " + a + ": " + line + "\n")
		}
	}
	for _, line := range linesB {
		if !slices.Contains(linesA, line) {
			text.WriteString("metrics, only " + b + ": " + line + "\n")
		}
	}
	return text.String()
}
