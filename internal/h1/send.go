package h1

import (
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// extraFields returns fields of the header that are this transport's.
func (x *exchange) extraFields() (fields string) {
	header := x.req.Header
	if !x.transport.noCompression && x.req.Method != http.MethodHead && header.Get("Accept-Encoding") == "" && header.Get("Range") == "" {
		x.addedGzip = true
		fields = "Accept-Encoding: gzip\r\n"
	}
	if x.transport.closeAlways && !x.req.Close && !hasToken(header, "Connection", "close") && !isUpgrade(header) {
		fields += "Connection: close\r\n"
	}
	return fields
}

// send sends the request. If that fails, whoever waits for the answer may still get one.
func (x *exchange) send() {
	printer := &x.buffers.printer
	err := x.req.Write(printer)
	if err == nil {
		err = printer.out.Flush()
	}
	x.sendErr = x.sendError(err)
	switch {
	case err == nil:
		x.expire(x.transport.headerLimit, errHeaderTimeout)
	case err == errBodyWithheld: //nolint:errorlint // as it is returned
	case x.c.cannotSend.Load():
		x.expire(hearOut, x.sendErr)
	default: // the request is not to be sent as it is
		x.c.abort(x.sendErr)
	}
}

// sendError returns an error of sending the request as the caller is to see it.
func (x *exchange) sendError(err error) error {
	switch {
	case err == nil:
		return nil
	case x.body != nil && x.body.failure != nil:
		return x.body.failure
	case !x.c.wrote.Load() && x.c.cannotSend.Load():
		return &unsentError{err}
	case !x.c.wrote.Load(), x.buffers.printer.inBody && x.c.cannotSend.Load() && !x.body.ended:
		return err
	}
	return broken(err)
}

// awaitContinue waits until the server wants the body, or keeps silent for too long.
func (x *exchange) awaitContinue() error {
	timer := time.NewTimer(x.transport.continueWait)
	defer timer.Stop()
	select {
	case proceed := <-x.proceed:
		if !proceed {
			return errBodyWithheld
		}
	case <-timer.C:
	}
	return nil
}

func expectsContinue(req *http.Request) bool { return hasToken(req.Header, "Expect", "100-continue") }

// hasToken tells whether the first value of a field has a token, as http.Transport looks for it.
func hasToken(header http.Header, field, token string) bool {
	value := header.Get(field)
	if len(value) < len(token) {
		return false
	}
	for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		if strings.EqualFold(part, token) {
			return true
		}
	}
	return false
}

// isUpgrade tells whether a header asks for another protocol, or agrees to it.
func isUpgrade(header http.Header) bool {
	return len(header["Upgrade"]) > 0 && httpguts.HeaderValuesContainsToken(header["Connection"], "Upgrade")
}
