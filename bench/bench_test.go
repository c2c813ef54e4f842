package main

import (
	"errors"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAPageOfResultsIsReplacedWhole(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "results")
	for _, text := range []string{"a long text of old figures", "new"} {
		if err := soakPage.write(folder, text); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(soakPage.file(folder))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(got); !strings.HasPrefix(text, "# Soak\n") || !strings.HasSuffix(text, ".\n\nnew\n") {
		t.Errorf("got\n%s", text)
	}
}

func TestProcStatIsReadWhateverTheNameOfTheProcess(t *testing.T) {
	line := "123 (a) b (c) S 7 1 1 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 8 0 100 1000 200"
	stat, err := parseProcStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if stat.parent != 7 || stat.cpu != 3*time.Second {
		t.Errorf("got parent %d and %s, want 7 and 3s", stat.parent, stat.cpu)
	}
	if _, err := parseProcStat([]byte("123 (x) S")); err == nil {
		t.Error("a line that is cut short was accepted")
	}
}

func TestSharedMemoryIsReadAsItsPart(t *testing.T) {
	got, err := parseProportional([]byte("55-7f ---p 00000000 00:00 0 [rollup]\nRss:  4000 kB\nPss:  1234 kB\nPss_Dirty:  7 kB\n"))
	if err != nil || got != 1234 {
		t.Errorf("got %d, %v; want 1234", got, err)
	}
	if _, err := parseProportional([]byte("Rss: 1 kB\n")); err == nil {
		t.Error("a file without the line was accepted")
	}
}

func TestMedians(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("odd: got %v", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("even: got %v", got)
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("none: got %v", got)
	}
	identity := func(x float64) float64 { return x }
	if got := medianRatio([]float64{1, 6, 30}, []float64{1, 2, 10}, identity); got != 3 {
		t.Errorf("ratio within rounds: got %v", got)
	}
}

func TestTheWorstDeviationIsFoundAtWhicheverPrefix(t *testing.T) {
	s := newSpread(0.5)
	for _, group := range strings.Fields("production production production staging staging staging") {
		s.add(group)
	}
	if s.worst != 1.5 || s.worstAt != 3 || s.burst != 3 || s.staging != 3 {
		t.Errorf("got %+v", *s)
	}
}

func TestWrkIsUnderstood(t *testing.T) {
	output := "Running 1s test\n  2 threads\n\n{\"requests\":2000,\"duration\":1000000,\"p50\":10,\"p99\":20,\"errors\":3}\n"
	got, err := parseLoad([]byte(output))
	if want := (load{2000, 1000000, 10, 20, 3}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "unable to connect", `{"requests":5,"duration":0}`} {
		if _, err := parseLoad([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestOnlyWhatNoProxyCouldServeIsExcused(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	kill := []disruption{{at: at(100), kill: true}}
	reload := []disruption{{at: at(100)}}
	broken := errors.New("broken")
	during := func(k kind, answered, begun bool) exchange {
		return exchange{kind: k, started: at(90), ended: at(120), answered: answered, begun: begun, err: broken}
	}
	dialing := func(err error) error {
		return &url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)}}
	}
	cases := []struct {
		name        string
		exchange    exchange
		disruptions []disruption
		want        verdict
	}{
		{"nothing is wrong", exchange{kind: kindGet, started: at(90), ended: at(120)}, kill, served},
		{"a GET can be repeated", during(kindGet, true, false), kill, failed},
		{"but not once its answer has begun", during(kindGet, true, true), kill, cutByKill},
		{"a whole answer that is wrong", exchange{kind: kindGet, started: at(90), ended: at(120), answered: true, begun: true, wrong: true, err: broken}, kill, failed},
		{"a POST cannot", during(kindPost, true, false), kill, cutByKill},
		{"a POST long after the kill", exchange{kind: kindPost, started: at(5000), ended: at(5001), err: broken}, kill, failed},
		{"a POST that ended before the kill", exchange{kind: kindPost, started: at(1), ended: at(2), err: broken}, kill, failed},
		{"a reload ends open sockets", during(kindSocket, true, true), reload, cutByReload},
		{"but rejects no handshake", during(kindSocket, true, false), reload, failed},
		{"and sockets that are just being opened", during(kindSocket, false, false), reload, cutByReload},
		{"nor a stream", during(kindEvents, true, true), reload, failed},
		{"a reload ends a client's idle connection", during(kindPost, false, false), reload, cutByReload},
		{"or a new one that waits", exchange{kind: kindGet, started: at(90), ended: at(120), fresh: true, err: broken}, reload, cutByReload},
		{"or one that is just being opened", exchange{kind: kindGet, started: at(90), ended: at(120), err: dialing(syscall.ECONNRESET)}, reload, cutByReload},
		{"but refuses none", exchange{kind: kindPost, started: at(90), ended: at(120), fresh: true, err: dialing(syscall.ECONNREFUSED)}, reload, failed},
		{"a kill ends no new one", exchange{kind: kindGet, started: at(90), ended: at(120), fresh: true, err: broken}, kill, failed},
		{"a GET over a connection that served others is repeated", during(kindGet, false, false), reload, failed},
		{"but answers no POST with an error", during(kindPost, true, false), reload, failed},
		{"a reload ends a connection that was busy at the time, once it is not", exchange{kind: kindPost, opened: at(50), started: at(700), ended: at(701), err: broken}, reload, cutByReload},
		{"but leaves none without an answer", exchange{kind: kindPost, opened: at(50), started: at(700), ended: at(30_700), err: dialing(os.ErrDeadlineExceeded)}, reload, failed},
		{"a kill does not", exchange{kind: kindPost, opened: at(50), started: at(700), ended: at(701), err: broken}, kill, failed},
		{"but none that was opened after it", exchange{kind: kindPost, opened: at(101), started: at(700), ended: at(701), err: broken}, reload, failed},
		{"and what it answers, it answers rightly", exchange{kind: kindPost, opened: at(50), started: at(700), ended: at(701), answered: true, err: broken}, reload, failed},
		{"nor what could not connect", exchange{kind: kindPost, started: at(700), ended: at(701), err: broken}, reload, failed},
		{"a GET is repeated there", exchange{kind: kindGet, opened: at(50), started: at(700), ended: at(701), err: broken}, reload, failed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := judge(c.exchange, c.disruptions); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestThousands(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 999.4: "999", 1000: "1,000", 1234567.8: "1,234,568", -1234: "-1,234"} {
		if got := thousands(value); got != want {
			t.Errorf("%v: got %s, want %s", value, got, want)
		}
	}
}

func TestWrkSendsTheBodyOfAPayload(t *testing.T) {
	if got := wrkScript(payload{}); got != wrkReport {
		t.Errorf("without a body:\n%s", got)
	}
	if got := wrkScript(payload{body: 1024}); !strings.Contains(got, `wrk.method = "POST"`) || !strings.Contains(got, `string.rep("x", 1024)`) {
		t.Errorf("with a body:\n%s", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, bad := range []string{"-latency 0", "-latency x", "-page ../x", "-page=", "-conns -1", "-rounds 0", "-duration 1ms", "more"} {
		if _, err := parseOptions(strings.Fields(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	o, err := parseOptions(strings.Fields("-latency 1000,2000 -page bodies"))
	if err != nil || len(o.latency) != 2 || o.page != "bodies" {
		t.Errorf("got %+v, %v", o, err)
	}
	if needed := o.programs(); strings.Contains(strings.Join(needed, " "), "wrk") {
		t.Errorf("latencies need no wrk, but %q", needed)
	}
}
