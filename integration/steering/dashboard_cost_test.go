package steering

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

// cpuOf returns how much processor time a process has used, which Linux counts in hundredths of a second.
func cpuOf(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat)[strings.LastIndexByte(string(stat), ')')+2:]) // from the third on
	var used time.Duration
	for _, field := range fields[14-3 : 16-3] { // user's and system's, as proc(5) numbers them
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		used += time.Duration(n) * 10 * time.Millisecond
	}
	return used
}

// memoryOf returns how many bytes the heap and the stacks of a Caddy have in use, after a collection.
func memoryOf(c *child) (used int) {
	c.T.Helper()
	_, text := c.Ask(http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", "")
	for _, match := range regexp.MustCompile(`(?m)^# (?:HeapInuse = |Stack = )(\d+)`).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(match[1])
		if err != nil {
			c.T.Fatal(err)
		}
		used += n
	}
	if used == 0 {
		c.T.Fatal("the memory in use is not told")
	}
	return used
}

// 200 people who look at 200 routes, all of which have traffic, cost less than 5 % of a core, and 20 MB.
func TestTwoHundredViewersCostLittle(t *testing.T) {
	t.Parallel()
	const routes, viewers = 200, 200
	window := time.Duration(lab.Sized(1, 5, 1)) * time.Second
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	var site strings.Builder
	board := "http://" + freeAddr(t) // apart: Caddy keeps a chain of all routes of a server for each request
	for i := range routes {
		fmt.Fprintf(&site, "handle /%d {\n%s\n}\n", i, strings.Replace(blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 10"), "name app", fmt.Sprint("name app", i), 1))
	}
	c.Write(adapt(t, quiet+c.Site(site.String())+board+" {\nbind 127.0.0.1\nproxyos_dashboard\n}\n"))
	c.Start()
	stop := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(stop)
	all.Go(func() { // a request to each route each second
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Second / routes):
			}
			c.Get(fmt.Sprint("/", i%routes))
		}
	})
	time.Sleep(2 * time.Second)                     // until each route has had some
	measure := func() (share float64, memory int) { // the least of some, since a busy machine only adds to it
		share = 1
		for range 3 {
			began, before := time.Now(), cpuOf(t, c.PID())
			time.Sleep(window)
			share = min(share, float64(cpuOf(t, c.PID())-before)/float64(time.Since(began)))
		}
		return share, memoryOf(c)
	}
	alone, memoryAlone := measure()
	client := &http.Client{Transport: &http.Transport{}}
	var told sync.WaitGroup
	for range viewers {
		told.Add(1)
		all.Go(func() {
			res, err := client.Get(board + "/events")
			if err != nil {
				t.Error(err)
				told.Done()
				return
			}
			defer res.Body.Close()
			_, err = io.ReadFull(res.Body, make([]byte, 1000))
			told.Done()
			if err == nil {
				go func() {
					<-stop
					res.Body.Close()
				}()
				_, _ = io.Copy(io.Discard, res.Body)
			}
		})
	}
	told.Wait()
	viewed, memory := measure()
	t.Logf("alone %.1f %% of a core and %d MB, with %d viewers %.1f %% and %d MB", alone*100, memoryAlone>>20, viewers, viewed*100, memory>>20)
	if lab.Sized(1, 1, 0) == 1 && viewed-alone > 0.05 {
		t.Errorf("%d viewers cost %.1f %% of a core", viewers, (viewed-alone)*100)
	}
	if lab.Sized(1, 1, 0) == 1 && memory-memoryAlone > 20<<20 {
		t.Errorf("%d viewers cost %d MB", viewers, (memory-memoryAlone)>>20)
	}
}

// What a request costs Caddy's processor while nobody looks at the page of its route, and while 20 do. The rounds take
// turns, since a machine is not always equally fast:
//
//	go test -run '^$' -bench RequestsWhileViewed -benchtime 1x ./integration/steering
func BenchmarkRequestsWhileViewed(b *testing.B) {
	const rounds, requests, clients, viewers = 15, 20_000, 32, 20
	prod, stag := plain(b, "production", ""), plain(b, "staging", "")
	c := newChild(b)
	board := "http://" + freeAddr(b)
	c.Write(adapt(b, quiet+c.Site(blueGreenDirective(prod.Addr, stag.Addr, "traffic_split 10"))+board+" {\nbind 127.0.0.1\nproxyos_dashboard\n}\n"))
	c.Start()
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	client := &http.Client{Transport: transport}
	round := func() (perRequest float64) {
		before := cpuOf(b, c.PID())
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for range requests / clients {
					res, err := client.Get(c.URL)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
		}
		all.Wait()
		return float64((cpuOf(b, c.PID()) - before).Microseconds()) / requests
	}
	look := func() (stop func()) {
		ctx, cancel := context.WithCancel(b.Context())
		var all sync.WaitGroup
		for range viewers {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, board+"/events?route=app", nil)
			if err != nil {
				b.Fatal(err)
			}
			all.Go(func() {
				if res, err := http.DefaultClient.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
		}
		return func() { cancel(); all.Wait() }
	}
	round() // for connections and caches
	for b.Loop() {
		var alone, viewed []float64
		for range rounds {
			alone = append(alone, round())
			stop := look()
			viewed = append(viewed, round())
			stop()
		}
		slices.Sort(alone)
		slices.Sort(viewed)
		b.ReportMetric(alone[rounds/2], "µs/request-alone")
		b.ReportMetric(viewed[rounds/2], "µs/request-viewed")
		b.ReportMetric(viewed[rounds/2]/alone[rounds/2], "ratio")
	}
}
