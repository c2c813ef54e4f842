package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestAnAnswerThatIsLateCountsForTheRequestsBehindIt(t *testing.T) {
	const stall = 200 * time.Millisecond
	first := true // one connection, so one request at a time
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if first {
			first = false
			time.Sleep(stall)
		}
	}))
	defer server.Close()
	got, err := sendAtRate(t.Context(), server.Listener.Addr().String(), payload{path: "/"}, 1, 100, 400*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if got.Requests != 40 {
		t.Errorf("%d requests were answered, want 40", got.Requests)
	}
	// Half of the requests were due during the stall. The 20th was due 10 ms before its end.
	if late := time.Duration(got.P99) * time.Microsecond; late < stall-20*time.Millisecond {
		t.Errorf("p99 is %s, want about %s", late, stall)
	}
}

func TestAnErrorEndsTheMeasurementOfLatencies(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	if _, err := sendAtRate(t.Context(), server.Listener.Addr().String(), payload{path: "/"}, 2, 100, 100*time.Millisecond); err == nil {
		t.Error("answers with 404 were taken for good ones")
	}
}

func TestTheFastBackendReadsBodiesToTheirEnd(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { _ = newFastBackend(production).serve(listener) }()
	for _, p := range payloads {
		if p.tls {
			continue
		}
		if _, err := sendAtRate(t.Context(), listener.Addr().String(), p, 1, 50, 100*time.Millisecond); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
}

func TestPercentiles(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(i + 1)
	}
	for percent, want := range map[int]int64{50: 50, 99: 99, 100: 100} {
		if got := percentile(hundred, percent); got != want {
			t.Errorf("%d: got %d, want %d", percent, got, want)
		}
	}
	if got := percentile([]int64{7}, 99); got != 7 {
		t.Errorf("of one: got %d", got)
	}
	if got := percentile(nil, 50); got != 0 {
		t.Errorf("of none: got %d", got)
	}
}
