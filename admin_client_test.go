package proxyos

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Between two people who set a share at once, the last one wins: their commands try once more.
func TestAConflictIsTriedOnceMore(t *testing.T) {
	for conflicts, want := range map[int]string{0: "", 1: "", 2: "meanwhile"} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked <= conflicts {
				w.WriteHeader(http.StatusConflict)
				fmt.Fprint(w, `{"error":"it has meanwhile been set"}`)
				return
			}
			fmt.Fprint(w, `{"name":"app","traffic_split":25}`)
		}))
		c := adminClient{t.Context(), strings.TrimPrefix(server.URL, "http://")}
		route, err := c.split("app", 25, false)
		switch {
		case want == "" && (err != nil || route.TrafficSplit != 25 || asked != conflicts+1):
			t.Errorf("after %d conflicts: %v %%, %v, asked %d times", conflicts, route.TrafficSplit, err, asked)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || asked != 2):
			t.Errorf("after %d conflicts: %v, asked %d times", conflicts, err, asked)
		}
		server.Close()
	}
}
