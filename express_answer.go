package proxyos

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go/http3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// expressAnswer passes an upstream's answer on to the client, as reverse_proxy's
// finalizeResponse does.
type expressAnswer struct {
	trip *expressTrip
	to   http.ResponseWriter
	res  *http.Response
}

// pass passes the whole answer on. Where it breaks off, so does the client's.
func (a *expressAnswer) pass() {
	header := a.header()
	announced := len(a.res.Trailer)
	if announced > 0 {
		names := make([]string, 0, announced)
		for name := range a.res.Trailer {
			names = append(names, name)
		}
		a.to.Header().Add("Trailer", strings.Join(names, ", "))
	}
	a.to.WriteHeader(a.res.StatusCode)
	err := a.copy(a.isStream(header))
	if closing := a.res.Body.Close(); closing != nil { // which completes the trailers
		a.log(zapcore.DebugLevel, "closed response body from upstream", closing)
	}
	if err != nil {
		a.breakOff(err)
	}
	if len(a.res.Trailer) > 0 {
		a.flush() // chunks, or a short answer would get a length and no trailers
	}
	a.trip.passed()
	a.trailers(announced)
}

// header gives the client the header of the answer. It returns what it has added to what
// the client gets anyway. The answer's own stays as it is, for placeholders.
func (a *expressAnswer) header() http.Header {
	from, to := a.res.Header, a.to.Header()
	delete(to, "Server") // Via stands for it
	to["Via"] = append(to["Via"], a.protocol()+viaOf(a.res.ProtoMajor, a.res.ProtoMinor))
	down := a.trip.way.down
	if down == nil && len(from["Connection"]) == 0 {
		values := headerFields{values: make([]string, 0, countValues(from))}
		for name, own := range from {
			if !isHopByHop(name) {
				addTo(to, name, values.room(own...))
			}
		}
		return from
	}
	added := newHeaderFields(from, 0)
	for name, own := range from {
		if !isHopByHop(name) && !isNamed(name, from) {
			added.copy(name, own)
		}
	}
	if down != nil && (down.Require == nil || down.Require.Match(a.res.StatusCode, added.header)) {
		down.ApplyTo(added.header, a.trip.repl)
	}
	for name, values := range added.header {
		addTo(to, name, values)
	}
	return added.header
}

// addTo adds values, which nobody else has, to a header.
func addTo(to http.Header, name string, values []string) {
	canonical := http.CanonicalHeaderKey(name)
	switch before := to[canonical]; {
	case len(values) == 0:
	case len(before) == 0:
		to[canonical] = values
	default:
		to[canonical] = append(before, values...)
	}
}

// protocol returns the protocol of the answer, for Via, unless it is HTTP.
func (a *expressAnswer) protocol() string {
	proto := a.res.Proto
	if strings.HasPrefix(strings.ToUpper(proto), "HTTP/") {
		return ""
	}
	return proto[:strings.Index(proto, "/")+1]
}

// isStream tells whether each piece of the answer is to reach the client at once. header is
// what the client gets.
func (a *expressAnswer) isStream(header http.Header) bool {
	if a.res.ContentLength == -1 || a.trip.way.route.proxy.FlushInterval < 0 ||
		caddyhttp.IsIncremental(a.original()) || caddyhttp.IsIncremental(header) {
		return true
	}
	return isEventStream(header)
}

// isEventStream tells whether an answer with a header is a stream of server-sent events.
func isEventStream(header http.Header) bool {
	const events = "text/event-stream"
	written := header.Get("Content-Type")
	if kind, _, _ := strings.Cut(written, ";"); !strings.EqualFold(strings.TrimSpace(kind), events) {
		return false
	}
	kind, _, err := mime.ParseMediaType(written)
	return err == nil && kind == events
}

// original returns the header as the upstream sent it.
func (a *expressAnswer) original() http.Header { return a.res.Header }

// copyBuffers are for the bodies of answers.
var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// errToClient says that it was the client's connection that failed.
var errToClient = errors.New("writing")

// copy passes the body on.
func (a *expressAnswer) copy(isStream bool) error {
	to := io.Writer(a.to)
	if isStream {
		stream := newFlusher(a.to)
		defer stream.stop()
		to = stream
	}
	if a.res.Body == http.NoBody {
		return nil
	}
	buffer := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buffer)
	for {
		n, err := a.res.Body.Read(buffer[:])
		if n > 0 {
			written, err := to.Write(buffer[:n])
			if err != nil {
				return fmt.Errorf("%w: %w", errToClient, err)
			}
			if written < n {
				return io.ErrShortWrite
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
	}
}

// breakOff ends the client's answer in the middle, since it has begun.
func (a *expressAnswer) breakOff(err error) {
	level := zapcore.WarnLevel
	if hasLeft(err) {
		level = zapcore.DebugLevel
	}
	a.log(level, "aborting with incomplete response", err)
	a.flush() // what there is
	panic(http.ErrAbortHandler)
}

// hasLeft tells whether an error is that the client has cancelled a request over HTTP/3.
func hasLeft(err error) bool {
	if !errors.Is(err, errToClient) {
		return false
	}
	failure, ok := errors.AsType[*http3.Error](err)
	return ok && failure.Remote && failure.ErrorCode == http3.ErrCodeRequestCanceled
}

// trailers passes on what the upstream sent after the body. announced is how many it had
// announced.
func (a *expressAnswer) trailers(announced int) {
	to := a.to.Header()
	if len(a.res.Trailer) == announced {
		addAll(to, a.res.Trailer)
		return
	}
	for name, values := range a.res.Trailer {
		for _, value := range values {
			to.Add(http.TrailerPrefix+name, value)
		}
	}
}

func (a *expressAnswer) flush() { _ = http.NewResponseController(a.to).Flush() }

// log logs an error with what reverse_proxy logs of an attempt.
func (a *expressAnswer) log(level zapcore.Level, message string, err error) {
	if c := a.trip.way.logger.Check(level, message); c != nil {
		c.Write(slices.Concat(a.trip.logged(), []zap.Field{zap.Error(err)})...)
	}
}

// flusher writes to a client so that every piece reaches it at once, and the header even
// before there is any.
type flusher struct {
	mu     sync.Mutex
	to     http.ResponseWriter
	flush  func() error
	first  *time.Timer
	isOver bool
}

func newFlusher(to http.ResponseWriter) *flusher {
	f := &flusher{to: to, flush: http.NewResponseController(to).Flush}
	f.first = time.AfterFunc(0, f.begin)
	return f
}

// begin flushes the header. It need not if a piece comes as soon.
func (f *flusher) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isOver {
		_ = f.flush()
	}
}

// Write implements io.Writer.
func (f *flusher) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.to.Write(p)
	_ = f.flush()
	return n, err
}

// stop ends the writing.
func (f *flusher) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.isOver = true
	f.first.Stop()
}
