package h1

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
)

// answer reads the answer, but not its body.
func (x *exchange) answer() (*http.Response, error) {
	c := x.c
	c.limitHeader()
	if _, err := x.buffers.reader.Peek(1); err != nil {
		return nil, x.fail(x.tooLong(&unheardError{err}))
	}
	if x.trace != nil && x.trace.GotFirstResponseByte != nil {
		x.trace.GotFirstResponseByte()
	}
	res, err := x.header()
	if err != nil {
		return nil, x.fail(broken(x.tooLong(err)))
	}
	c.limitNothing()
	if !x.stopTimer() {
		return nil, x.fail(errHeaderTimeout)
	}
	res.TLS = c.state
	closes := res.Close || x.req.Close
	x.allowBody(!closes)
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols && res.Header.Get("Upgrade") != "":
		x.upgrade(res)
	case x.req.Method == http.MethodHead || res.ContentLength == 0:
		x.end(!closes && res.StatusCode >= 200)
	default:
		body := &responseBody{x: x, inner: res.Body, keep: !closes && res.StatusCode >= 200}
		res.Body = body
		if x.addedGzip && strings.EqualFold(res.Header.Get("Content-Encoding"), "gzip") {
			uncompress(res, body)
		}
	}
	return res, nil
}

// header reads headers until one is that of the answer itself.
func (x *exchange) header() (*http.Response, error) {
	for {
		res, err := http.ReadResponse(x.buffers.reader, x.req)
		if err != nil {
			return nil, err
		}
		if res.StatusCode < 100 || res.StatusCode > 199 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, nil
		}
		if res.StatusCode == http.StatusContinue && x.proceed != nil {
			if x.trace != nil && x.trace.Got100Continue != nil {
				x.trace.Got100Continue()
			}
			x.allowBody(true)
		}
		if err := x.inform(res, x.trace); err != nil {
			return nil, err
		}
	}
}

// inform passes an informational answer on. Whoever takes those limits their number; otherwise
// all headers together are not larger than one may be.
func (x *exchange) inform(res *http.Response, trace *httptrace.ClientTrace) error {
	if trace == nil || trace.Got1xxResponse == nil {
		return nil
	}
	if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
		return err
	}
	x.c.limitHeader()
	return nil
}

// tooLong returns what is wrong if the header is longer than it may be, and err otherwise.
func (x *exchange) tooLong(err error) error {
	if x.c.left > 0 {
		return err
	}
	return fmt.Errorf("net/http: server response headers exceeded %d bytes; aborted", x.c.maxHeader)
}

// allowBody says whether to send the body that the server was asked about, if nobody has said so.
func (x *exchange) allowBody(send bool) {
	if x.proceed == nil {
		return
	}
	select {
	case x.proceed <- send:
	default:
	}
}

// upgrade hands the connection over to the caller. Some servers, such as Proxmox Backup Server,
// omit the Connection field, which the answer has to have.
func (x *exchange) upgrade(res *http.Response) {
	x.unwatchContext()
	if !isUpgrade(res.Header) {
		res.Header.Add("Connection", "Upgrade")
	}
	body := &upgradedConn{ReadWriteCloser: x.c.Conn}
	if b := x.buffers; b.reader.Buffered() > 0 {
		body.early = b.reader
	} else if x.sent == nil {
		x.transport.buffers.put(b)
	}
	res.Body = body
	x.transport.pool.release(x.c)
}
