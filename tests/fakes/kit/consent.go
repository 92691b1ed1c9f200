package kit

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
)

// Consent is what people have said yes to on a stand-in's page and nobody has had a
// token for yet. The zero value is that of nobody. The stand-in's lock guards it.
type Consent struct {
	codes map[string]asked
	n     int
}

// asked is what of the page's URL the token endpoint will want again.
type asked struct{ client, redirect, challenge string }

// Agree is a person who opens a page at "at" and says yes there: it is the URL that the
// browser is sent back to, with a code that is good once. All APIs refuse a page for
// another client, without a state, or that comes back elsewhere than to this machine by
// a plain address; further are the parameters without which this one does, besides.
func (c *Consent) Agree(page, at, client string, further ...string) (string, error) {
	u, err := url.Parse(page)
	if err != nil {
		return "", fmt.Errorf("opening the page: %w", err)
	}
	q := u.Query()
	u.RawQuery = ""
	if u.String() != at {
		return "", fmt.Errorf("the page is at %s, not at %s", at, u)
	}
	for _, name := range append([]string{"redirect_uri", "state"}, further...) {
		if q.Get(name) == "" {
			return "", fmt.Errorf("the page needs %s: %v", name, q)
		}
	}
	back, err := url.Parse(q.Get("redirect_uri"))
	switch {
	case q.Get("client_id") != client:
		return "", fmt.Errorf("the page knows no client %q", q.Get("client_id"))
	case q.Get("response_type") != "code" || q.Get("code_challenge") != "" && q.Get("code_challenge_method") != "S256":
		return "", fmt.Errorf("the page cannot answer so: %v", q)
	case err != nil || back.Scheme != "http" || back.RawQuery != "" || back.Hostname() != "127.0.0.1" && back.Hostname() != "localhost":
		return "", fmt.Errorf("the page does not go back to %q", q.Get("redirect_uri"))
	}
	c.n++
	code := fmt.Sprintf("code-%d/+=", c.n) // which a URL must escape
	if c.codes == nil {
		c.codes = map[string]asked{}
	}
	c.codes[code] = asked{client, q.Get("redirect_uri"), q.Get("code_challenge")}
	back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
	return back.String(), nil
}

// Take tells whether a form of the token endpoint has a code that was given to this
// client, with the page's redirect and, if the page had a challenge, what was hashed for
// it. The code is good no more, either way.
func (c *Consent) Take(client string, form url.Values) bool {
	code := form.Get("code")
	page, ok := c.codes[code]
	delete(c.codes, code)
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	return ok && page.client == client && page.redirect == form.Get("redirect_uri") &&
		(page.challenge == "" || page.challenge == base64.RawURLEncoding.EncodeToString(sum[:]))
}
