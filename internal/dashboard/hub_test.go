package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watchedJoin has a viewer join, and returns the context that ends when it is let go.
func watchedJoin(t *testing.T, h *Hub, topic topic) (*viewer, context.Context) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	v, err := h.join(topic, cancel)
	if err != nil {
		t.Fatal(err)
	}
	return v, ctx
}

// news reads an event.
func news(t *testing.T, event []byte) (d data) {
	t.Helper()
	text, ok := strings.CutPrefix(string(event), "data: ")
	if body, isWhole := strings.CutSuffix(text, "\n\n"); !ok || !isWhole || strings.Contains(body, "\n") || json.Unmarshal([]byte(body), &d) != nil {
		t.Fatalf("this is no event: %q", event)
	}
	return d
}

func TestEventsHaveOnlyWhatHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{snapshot: twoRoutes()}
		hub := NewHub(source, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go hub.Run(ctx)
		synctest.Wait()
		v, _ := watchedJoin(t, hub, topic{"shop", true})
		whole := news(t, <-v.events)
		if whole.Cells["share.text"] != "10 %" || len(whole.Cells) < 100 {
			t.Fatalf("the first event: %v", whole)
		}
		time.Sleep(interval + interval/2)
		if first := news(t, <-v.events); first.Structure != whole.Structure || first.Cells["g0.rate"] != "0" || len(first.Cells) > 10 {
			t.Errorf("without a change: %v", first)
		}
		source.set(func() {
			changed := twoRoutes()
			changed.Routes[0].Split, changed.Routes[0].Groups[0].Requests = share(20), 5
			source.snapshot = changed
		})
		time.Sleep(interval)
		second := news(t, <-v.events)
		for cell, want := range map[string]string{"share.text": "20 %", "share.value": "20", "g0.rate": "2.5", "g0.errors": "0 %"} {
			if second.Cells[cell] != want {
				t.Errorf("%s is %q, want %q", cell, second.Cells[cell], want)
			}
		}
		if _, ok := second.Cells["share.version"]; ok {
			t.Error("what has not changed is in the event")
		}
		source.set(func() { source.snapshot = &Snapshot{Routes: []Route{plainRoute()}} })
		time.Sleep(interval)
		if gone := news(t, <-v.events); gone.Structure == whole.Structure || len(gone.Cells) > 0 {
			t.Errorf("after the route has gone: %v", gone)
		}
		cancel()
		synctest.Wait()
	})
}

func TestHubGoesOnAfterASnapshotFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{err: errCaddy}
		hub := NewHub(source, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go hub.Run(ctx)
		synctest.Wait()
		v, _ := watchedJoin(t, hub, topic{})
		if first := news(t, <-v.events); first.Cells["alarm"] != errCaddy.Error() {
			t.Errorf("at first: %v", first)
		}
		source.set(func() { source.err, source.snapshot = nil, twoRoutes() })
		time.Sleep(interval + interval/2)
		if next := news(t, <-v.events); len(next.Cells) > 0 || next.Structure == "" {
			t.Errorf("after it came back, the page is not to be loaded again: %v", next)
		}
		cancel()
		synctest.Wait()
	})
}

// silentSource waits until nobody waits for it.
type silentSource struct{ fakeSource }

func (*silentSource) Snapshot(ctx context.Context) (*Snapshot, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestASourceThatDoesNotAnswerIsNotWaitedForForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		got := NewHub(new(silentSource), nil).look(t.Context(), topic{}).Alarm.Value
		if took := time.Since(begun); got != "there was no answer within 3s" || took != snapshotTimeout {
			t.Errorf("after %v: %q", took, got)
		}
	})
}

func TestOnePageIsEncodedOnceForAll(t *testing.T) {
	hub := NewHub(&fakeSource{snapshot: manyRoutes(200, 0)}, nil)
	hub.take(t.Context())
	var viewers []*viewer
	for range 200 {
		v, _ := watchedJoin(t, hub, topic{})
		viewers = append(viewers, v)
	}
	hub.source.(*fakeSource).snapshot = manyRoutes(200, 1)
	hub.take(t.Context())
	first := [2][]byte{<-viewers[0].events, <-viewers[0].events}
	for _, v := range viewers[1:] {
		for i := range first {
			if event := <-v.events; &event[0] != &first[i][0] {
				t.Fatalf("event %d was encoded again", i)
			}
		}
	}
	if len(hub.audiences) != 1 {
		t.Errorf("there are %d audiences", len(hub.audiences))
	}
	for _, v := range viewers {
		hub.leave(v)
		hub.leave(v) // does nothing
	}
	if len(hub.audiences) != 0 || hub.viewers.Len() != 0 {
		t.Errorf("%d audiences and %d viewers are left", len(hub.audiences), hub.viewers.Len())
	}
}

func TestThoseWhoPollGetTheSameWithinASecond(t *testing.T) {
	source := &fakeSource{snapshot: twoRoutes()}
	hub := NewHub(source, nil)
	first, again := hub.data(t.Context(), topic{}), hub.data(t.Context(), topic{})
	if &first[0] != &again[0] {
		t.Error("the same was encoded twice")
	}
	for i := range 2 * mostViewers {
		hub.data(t.Context(), topic{route: fmt.Sprint(i)})
	}
	if len(hub.whole) > mostViewers {
		t.Errorf("%d pages are kept", len(hub.whole))
	}
	hub.take(t.Context())
	if next := hub.data(t.Context(), topic{}); &first[0] == &next[0] || source.taken != 2 {
		t.Errorf("the same was given after another snapshot; %d were taken", source.taken)
	}
}

func TestASlowViewerIsLetGoAndHoldsNobody(t *testing.T) {
	source := &fakeSource{snapshot: twoRoutes()}
	hub := NewHub(source, nil)
	hub.take(t.Context())
	slow, gone := watchedJoin(t, hub, topic{})
	quick, stays := watchedJoin(t, hub, topic{})
	<-quick.events
	for i := range viewerBuffer {
		if gone.Err() != nil {
			t.Fatalf("it was let go after %d events", i)
		}
		hub.take(t.Context())
		<-quick.events
	}
	if gone.Err() == nil || slow.place != nil {
		t.Error("a viewer that reads nothing is still there")
	}
	if stays.Err() != nil {
		t.Error("one that reads was let go, too")
	}
}

// hungSource does not answer, not even when it is told that nobody waits any more.
type hungSource struct {
	fakeSource
	asked, freed chan struct{}
}

func (s *hungSource) Snapshot(context.Context) (*Snapshot, error) {
	close(s.asked)
	<-s.freed
	return nil, errCaddy
}

func TestViewersLeaveThoughASnapshotHangs(t *testing.T) {
	source := &hungSource{asked: make(chan struct{}), freed: make(chan struct{})}
	defer close(source.freed)
	hub := NewHub(source, nil)
	ctx, cancel := context.WithCancel(t.Context())
	_, gone := watchedJoin(t, hub, topic{})
	go hub.Run(ctx)
	<-source.asked
	cancel()
	eventually(t, "the viewer is let go", func() bool { return gone.Err() != nil })
}

func TestTheOldestOfTooManyIsLetGo(t *testing.T) {
	hub := NewHub(&fakeSource{snapshot: twoRoutes()}, nil)
	hub.take(t.Context())
	var all []context.Context
	for i := range mostViewers + 3 {
		_, ctx := watchedJoin(t, hub, topic{route: map[bool]string{true: "shop"}[i%2 == 0]})
		all = append(all, ctx)
	}
	for i, ctx := range all {
		if isGone := ctx.Err() != nil; isGone != (i < 3) {
			t.Errorf("viewer %d is gone: %t", i, isGone)
		}
	}
	if hub.viewers.Len() != mostViewers {
		t.Errorf("there are %d viewers", hub.viewers.Len())
	}
	hub.End()
	if _, err := hub.join(topic{}, func() {}); err == nil || len(hub.audiences) > 0 {
		t.Error("somebody may join a hub that has ended")
	}
}

// served is a dashboard on a real socket, with its hub.
func served(t *testing.T, source Source) (server *httptest.Server, hub *Hub, end func()) {
	t.Helper()
	hub = NewHub(source, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { hub.Run(ctx); close(ended) }()
	server = httptest.NewServer(NewServer(hub, Options{Controls: true}))
	t.Cleanup(server.Close)
	return server, hub, func() { cancel(); <-ended }
}

func TestStreamsEndWithTheHubAndLeaveNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	server, hub, end := served(t, &fakeSource{snapshot: twoRoutes()})
	const viewers = 50
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: viewers}}
	var wait sync.WaitGroup
	var got sync.WaitGroup
	got.Add(viewers)
	for range viewers {
		wait.Go(func() {
			r, err := client.Get(server.URL + "/events")
			if err != nil {
				t.Error(err)
				got.Done()
				return
			}
			defer r.Body.Close()
			if kind := r.Header.Get("Content-Type"); kind != "text/event-stream" || r.Header.Get("X-Accel-Buffering") != "no" {
				t.Errorf("headers: %v", r.Header)
			}
			checkHeaders(t, "events", r.Header)
			lines := bufio.NewScanner(r.Body)
			lines.Buffer(nil, 1<<20)
			events := 0
			for lines.Scan() {
				if strings.HasPrefix(lines.Text(), "data: ") {
					if events++; events == 1 {
						got.Done()
					}
				}
			}
		})
	}
	got.Wait()
	begun := time.Now()
	end()
	wait.Wait()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the streams ended after %v", took)
	}
	r, err := client.Get(server.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	if r.Body.Close(); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("events of a hub that has ended: %s", r.Status)
	}
	if len(hub.audiences) != 0 || hub.viewers.Len() != 0 {
		t.Errorf("%d audiences and %d viewers are left", len(hub.audiences), hub.viewers.Len())
	}
	client.CloseIdleConnections()
	server.Close()
	eventually(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestViewersThatHangUpLeaveNothing(t *testing.T) {
	server, hub, end := served(t, &fakeSource{snapshot: twoRoutes()})
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	for range 20 {
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events?route=shop", nil)
		r, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
	}
	cancel()
	eventually(t, "the viewers leave", func() bool {
		hub.mu.Lock()
		defer hub.mu.Unlock()
		return hub.viewers.Len() == 0 && len(hub.audiences) == 0
	})
}

func TestAStreamThatNobodyReadsEndsWithTheHub(t *testing.T) {
	big := &fakeSource{snapshot: manyRoutes(2000, 0)}
	server, hub, end := served(t, big)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
	io.ReadFull(conn, make([]byte, 100))
	for i := range viewerBuffer { // more than the socket takes
		big.set(func() { big.snapshot = manyRoutes(2000, uint64(i*i)) })
		hub.take(t.Context())
	}
	begun := time.Now()
	end()
	server.Close() // waits for its handlers
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 s; %d goroutines", what, runtime.NumGoroutine())
		}
	}
}
