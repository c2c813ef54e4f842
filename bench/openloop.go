package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// pacedConn is a connection with at most one request on its way.
type pacedConn struct {
	net.Conn
	due       atomic.Int64 // when its request was to be sent, in ns since the begin
	latencies []int64      // ns
}

// openLoop sends requests at fixed moments, however long their answers take. A latency counts
// from the moment at which the request was to be sent. So one slow answer is not hidden by the
// requests that a client would not have sent meanwhile.
type openLoop struct {
	began  time.Time
	free   chan *pacedConn
	failed chan error
}

// sendAtRate sends rate requests per second for a while, over conns connections in turn.
func sendAtRate(ctx context.Context, address string, p payload, conns, rate int, d time.Duration) (load, error) {
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	o := openLoop{free: make(chan *pacedConn, conns), failed: make(chan error, conns)}
	total := int(float64(rate) * d.Seconds())
	var all []*pacedConn
	for range conns {
		conn, err := net.DialTimeout("tcp", address, 5*time.Second)
		if err != nil {
			return load{}, err
		}
		defer conn.Close()
		c := &pacedConn{Conn: conn, latencies: make([]int64, 0, total/conns*2)}
		all = append(all, c)
		o.free <- c
	}
	o.began = time.Now()
	for _, c := range all {
		go o.receive(c)
	}
	if err := o.send(ctx, rawRequest(address, p), total, rate); err != nil {
		return load{}, err
	}
	var latencies []int64
	for range conns { // the last answers
		c, err := o.next(ctx)
		if err != nil {
			return load{}, err
		}
		latencies = append(latencies, c.latencies...)
	}
	slices.Sort(latencies)
	return load{
		Requests: len(latencies), Duration: int(time.Since(o.began).Microseconds()),
		P50: int(percentile(latencies, 50) / 1000), P99: int(percentile(latencies, 99) / 1000),
	}, nil
}

func (o *openLoop) send(ctx context.Context, request []byte, total, rate int) error {
	for i := range total {
		due := time.Duration(i) * time.Second / time.Duration(rate)
		pauseUntil(o.began.Add(due))
		c, err := o.next(ctx)
		if err != nil {
			return err
		}
		c.due.Store(int64(due))
		if _, err := c.Write(request); err != nil {
			return err
		}
	}
	return nil
}

// next returns the connection that has been free for longest.
func (o *openLoop) next(ctx context.Context) (*pacedConn, error) {
	select {
	case c := <-o.free:
		return c, nil
	case err := <-o.failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// receive reads the answers on a connection, until it is closed.
func (o *openLoop) receive(c *pacedConn) {
	answers := bufio.NewReaderSize(c, 32<<10)
	for {
		resp, err := http.ReadResponse(answers, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("the proxy answered %s", resp.Status)
		}
		if err != nil {
			o.failed <- err
			return
		}
		c.latencies = append(c.latencies, int64(time.Since(o.began))-c.due.Load())
		o.free <- c
	}
}

// rawRequest is a request of a payload as it is sent.
func rawRequest(address string, p payload) []byte {
	if p.body == 0 {
		return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", p.path, address)
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", p.path, address, p.body, strings.Repeat("x", p.body))
}

// percentile returns the smallest value that a share of the sorted values does not exceed.
func percentile(sorted []int64, percent int) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}
