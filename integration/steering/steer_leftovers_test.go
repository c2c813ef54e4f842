package steering

import (
	"runtime"
	"strings"
	"testing"
)

func allStacks() string {
	stacks := make([]byte, 16<<20)
	return string(stacks[:runtime.Stack(stacks, true)])
}

func TestConfigsLeaveNoGoroutineBehind(t *testing.T) {
	s, prod, stag := blueGreen(t, "traffic_split 10")
	for version := range 10 {
		s.MustLoad(s.BlueGreen(prod, stag, "traffic_split 10"))
		s.Split(float64(version))
		for _, bad := range []string{
			s.BlueGreen(prod, stag, "traffic_split 10") + "http://192.0.2.1 {\nbind 192.0.2.1\nrespond ok\n}\n",
			strings.Replace(s.BlueGreen(prod, stag, "traffic_split 10"), "500ms", "5ms", 1),
		} {
			if s.Load(bad) == nil {
				t.Fatal("a bad config loads")
			}
		}
	}
	for _, function := range []string{"\ngithub.com/proxyos/caddy-proxyos.(*steering).follow", "\ngithub.com/proxyos/caddy-proxyos.watchAvailability"} {
		eventually(t, "one goroutine is left in "+function, func() bool { return strings.Count(allStacks(), function+"(") == 1 })
	}
	s.MustLoad(s.Site("respond ok"))
	eventually(t, "no goroutine of proxyos is left", func() bool { return !strings.Contains(allStacks(), "proxyos/caddy-proxyos.") })
}
