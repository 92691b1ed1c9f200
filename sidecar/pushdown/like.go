package pushdown

import "unicode/utf8"

// likeResult: a match that ran out of text cannot come true by starting later.
type likeResult uint8

const (
	likeFalse likeResult = iota
	likeTrue
	likeAbort
)

// matchLike is LIKE with backslash as the escape character. As in PostgreSQL,
// a pattern that ends with it is an error only when the match gets there.
func matchLike(s, pattern string) (bool, error) {
	r, err := like(s, pattern)
	return r == likeTrue, err
}

func errTrailingEscape() error {
	return &EvalError{SQLState: "22025", Message: "LIKE pattern must not end with escape character"}
}

func like(s, p string) (likeResult, error) {
	for s != "" && p != "" {
		switch p[0] {
		case '\\':
			p = p[1:]
			if p == "" {
				return likeFalse, errTrailingEscape()
			}
			if p[0] != s[0] {
				return likeFalse, nil
			}
		case '%':
			return likeRest(s, p[1:])
		case '_':
			s = s[charLen(s):]
			p = p[1:]
			continue
		default:
			if p[0] != s[0] {
				return likeFalse, nil
			}
		}
		s, p = s[1:], p[1:]
	}
	if s != "" {
		return likeFalse, nil
	}
	for p != "" && p[0] == '%' {
		p = p[1:]
	}
	if p == "" {
		return likeTrue, nil
	}
	return likeAbort, nil
}

// likeRest matches what follows a percent sign.
func likeRest(s, p string) (likeResult, error) {
	for p != "" && (p[0] == '%' || p[0] == '_') {
		if p[0] == '_' {
			if s == "" {
				return likeAbort, nil
			}
			s = s[charLen(s):]
		}
		p = p[1:]
	}
	if p == "" {
		return likeTrue, nil
	}
	first := p[0]
	if first == '\\' {
		if len(p) < 2 {
			return likeFalse, errTrailingEscape()
		}
		first = p[1]
	}
	for s != "" {
		if s[0] == first {
			if r, err := like(s, p); r != likeFalse || err != nil {
				return r, err
			}
		}
		s = s[charLen(s):]
	}
	return likeAbort, nil
}

func charLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}
