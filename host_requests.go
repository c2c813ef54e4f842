package proxyos

import (
	"reflect"
	"sync/atomic"
	"unsafe"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// hostRequests is Caddy's own count of the requests that an upstream has in flight, of all
// routes together. Its admin API shows it, and max_requests and least_conn of any route go by
// it, so those that take the short way must be in it. Caddy has no function to count them.
type hostRequests struct{ count *atomic.Int64 }

// requestsField is where the count is in Caddy's Host; canCount is false if it is not where
// it was, in a Caddy that is not known yet.
var requestsField, canCount = func() (uintptr, bool) {
	field, ok := reflect.TypeFor[reverseproxy.Host]().FieldByName("numRequests")
	return field.Offset, ok && len(field.Index) == 1 && field.Type == reflect.TypeFor[atomic.Int64]()
}()

// requestsOf returns the count of a host. Only if canCount.
func requestsOf(host *reverseproxy.Host) hostRequests {
	return hostRequests{(*atomic.Int64)(unsafe.Add(unsafe.Pointer(host), requestsField))}
}

func (r hostRequests) add(delta int64) { r.count.Add(delta) }
