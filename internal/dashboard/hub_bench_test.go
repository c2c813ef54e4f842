package dashboard

import (
	"runtime"
	"testing"
)

// One second of a hub: 200 viewers of 200 routes, all of which have had requests.
func BenchmarkTick(b *testing.B) {
	for name, of := range map[string]func(i int) topic{
		"the overview": func(int) topic { return topic{controls: true} },
		"each a route": func(i int) topic { return topic{refs(manyRoutes(200, 0).Routes)[i], true} },
	} {
		b.Run(name, func(b *testing.B) {
			source := &fakeSource{snapshot: manyRoutes(200, 0)}
			hub := NewHub(source, busyHistory(source.snapshot))
			hub.take(b.Context())
			var viewers []*viewer
			for i := range 200 {
				v, err := hub.join(of(i), func() {})
				if err != nil {
					b.Fatal(err)
				}
				<-v.events
				viewers = append(viewers, v)
			}
			b.ReportAllocs()
			for b.Loop() {
				for i := range source.snapshot.Routes {
					g := &source.snapshot.Routes[i].Groups[0]
					g.Requests++
					g.Durations[5]++
				}
				hub.take(b.Context())
				for _, v := range viewers {
					<-v.events
				}
			}
			b.StopTimer()
			runtime.GC()
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			b.ReportMetric(float64(memory.HeapAlloc)/1e6, "MB-of-heap")
			runtime.KeepAlive(hub)
		})
	}
}
