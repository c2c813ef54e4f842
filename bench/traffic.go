package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"
)

// workers is how many clients of each kind there are.
var workers = map[kind]int{kindGet: 8, kindLarge: 3, kindPost: 4, kindEvents: 2, kindSocket: 3}

// traffic has clients of all kinds that keep a proxy busy, but do not overload it.
type traffic struct {
	address string
	ledger  *ledger
	client  *http.Client
	gate    sync.RWMutex // held for reading by each exchange
	running sync.WaitGroup
	stop    context.CancelFunc
}

func startTraffic(ctx context.Context, address string, l *ledger) *traffic {
	t := &traffic{address: address, ledger: l, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true, DialContext: dialDated},
		Timeout:   30 * time.Second,
	}}
	ctx, t.stop = context.WithCancel(ctx)
	for kind, count := range workers {
		for range count {
			t.running.Go(func() { t.work(ctx, kind) })
		}
	}
	return t
}

// end stops the clients when they have finished their exchanges.
func (t *traffic) end() {
	t.stop()
	t.running.Wait()
	t.client.CloseIdleConnections()
}

// pause waits until no request is in flight, and holds back new ones while it calls f.
func (t *traffic) pause(f func() error) error {
	t.gate.Lock()
	defer t.gate.Unlock()
	return f()
}

func (t *traffic) work(ctx context.Context, k kind) {
	for ctx.Err() == nil {
		t.gate.RLock()
		e := exchange{kind: k, started: time.Now()}
		switch k {
		case kindGet:
			t.get(&e, "/small", func(body []byte) bool { return string(body) == "ok" })
		case kindLarge:
			t.get(&e, "/large", func(body []byte) bool { return len(body) == largeSize })
		case kindEvents:
			t.get(&e, "/events", func(body []byte) bool { return bytes.Count(body, []byte("data: ")) == eventCount })
		case kindPost:
			t.post(&e)
		case kindSocket:
			t.socket(&e)
		}
		e.ended = time.Now()
		t.ledger.add(e)
		t.gate.RUnlock()
		time.Sleep(time.Duration(rand.IntN(int(20 * time.Millisecond))))
	}
}

func (t *traffic) get(e *exchange, path string, isGood func([]byte) bool) {
	t.do(e, http.MethodGet, path, http.NoBody, isGood)
}

func (t *traffic) post(e *exchange) {
	sent := bytes.Repeat([]byte{byte('a' + rand.IntN(26))}, 1+rand.IntN(20<<10))
	t.do(e, http.MethodPost, "/echo", bytes.NewReader(sent), func(received []byte) bool { return bytes.Equal(sent, received) })
}

func (t *traffic) do(e *exchange, method, path string, body io.Reader, isGood func([]byte) bool) {
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		e.fresh = !c.Reused
		if conn, ok := c.Conn.(*datedConn); ok {
			e.opened = conn.opened
		}
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), method, "http://"+t.address+path, body)
	if err != nil {
		e.err = err
		return
	}
	resp, err := t.client.Do(req)
	t.read(e, resp, err, isGood)
}

// datedConn is a connection that knows when it was opened.
type datedConn struct {
	net.Conn
	opened time.Time
}

func dialDated(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &datedConn{conn, time.Now()}, nil
}

func (t *traffic) read(e *exchange, resp *http.Response, err error, isGood func([]byte) bool) {
	if err != nil {
		e.err = err
		return
	}
	defer resp.Body.Close()
	e.answered = true
	e.group, e.begun = resp.Header.Get(groupHeader), resp.StatusCode == http.StatusOK
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		e.err = err
	case resp.StatusCode != http.StatusOK:
		e.err = errors.New(resp.Status)
	case !isGood(body):
		e.wrong, e.err = true, fmt.Errorf("a wrong answer of %d bytes", len(body))
	}
}

// socket makes a WebSocket handshake, then checks that some messages are echoed.
func (t *traffic) socket(e *exchange) {
	conn, err := net.DialTimeout("tcp", t.address, 5*time.Second)
	if err != nil {
		e.err = err
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", t.address)
	answers := bufio.NewReader(conn)
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		e.err = err
		return
	}
	defer resp.Body.Close()
	e.answered = true
	e.group, e.begun = resp.Header.Get(groupHeader), resp.StatusCode == http.StatusSwitchingProtocols
	if !e.begun {
		e.err = errors.New(resp.Status)
		return
	}
	message := strings.Repeat("m", 200)
	received := make([]byte, len(message))
	for range 10 {
		if _, e.err = io.WriteString(conn, message); e.err != nil {
			return
		}
		if _, e.err = io.ReadFull(answers, received); e.err != nil {
			return
		}
		if string(received) != message {
			e.wrong, e.err = true, errors.New("a wrong echo")
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
