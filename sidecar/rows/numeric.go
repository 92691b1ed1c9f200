package rows

// numeric: decimal text to PostgreSQL's binary form (base 10000) and back,
// without going through floats.

import (
	"encoding/binary"
)

// Signs of the binary form.
const (
	numericPositive = 0x0000
	numericNegative = 0x4000
	numericNaN      = 0xC000
	numericPosInf   = 0xD000
	numericNegInf   = 0xF000
)

// Limits of numeric_recv and of the type.
const (
	maxNumericDigits = 3000  // base-10000 digits that numeric_recv takes
	maxNumericScale  = 16383 // dscale
	maxNumericWeight = 32767
)

// decimal is a number literal taken apart: digits are whole followed by frac,
// the point stands after point of them (which may be outside).
type decimal struct {
	neg         bool
	special     uint16 // numericNaN, numericPosInf, numericNegInf; 0: a number
	whole, frac []byte
	exp         int
	first, last int // first and last digit that is not 0; first < 0: zero
}

func (d *decimal) digit(i int) byte {
	if i < len(d.whole) {
		return d.whole[i] - '0'
	}
	return d.frac[i-len(d.whole)] - '0'
}

// point is the number of digits before the decimal point.
func (d *decimal) point() int { return len(d.whole) + d.exp }

// integral reports whether there is nothing after the decimal point.
func (d *decimal) integral() bool { return d.special == 0 && (d.first < 0 || d.last < d.point()) }

// scale is the number of decimals as written, at least 0.
func (d *decimal) scale() int { return max(0, len(d.frac)-d.exp) }

// needs is the number of decimals that are not trailing zeros, at least 0.
func (d *decimal) needs() int {
	if d.first < 0 {
		return 0
	}
	return max(0, d.last+1-d.point())
}

// parseDecimal reads what numeric's input function does in decimal notation.
func parseDecimal(s []byte) (d decimal, ok bool) {
	s = trimSpace(s)
	d.first, d.last = -1, -1
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		d.neg = s[i] == '-'
		i++
	}
	start := i
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	d.whole = s[start:i]
	if i < len(s) && s[i] == '.' {
		i++
		start = i
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		d.frac = s[start:i]
	}
	if len(d.whole)+len(d.frac) == 0 {
		return parseSpecial(s)
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		neg := false
		if i < len(s) && (s[i] == '-' || s[i] == '+') {
			neg = s[i] == '-'
			i++
		}
		start = i
		for i < len(s) && isDigit(s[i]) {
			if d.exp < 1<<28 {
				d.exp = d.exp*10 + int(s[i]-'0')
			}
			i++
		}
		if i == start {
			return d, false
		}
		if neg {
			d.exp = -d.exp
		}
	}
	if i != len(s) {
		return d, false
	}
	for j, n := 0, len(d.whole)+len(d.frac); j < n; j++ {
		if d.digit(j) != 0 {
			if d.first < 0 {
				d.first = j
			}
			d.last = j
		}
	}
	return d, true
}

func parseSpecial(s []byte) (d decimal, ok bool) {
	neg := false
	t := s
	if len(t) > 0 && (t[0] == '-' || t[0] == '+') {
		neg = t[0] == '-'
		t = t[1:]
	}
	switch {
	case foldEqual(t, "infinity"), foldEqual(t, "inf"):
		d.special = numericPosInf
		if neg {
			d.special = numericNegInf
		}
		return d, true
	case foldEqual(t, "nan") && len(t) == len(s):
		d.special = numericNaN
		return d, true
	}
	return d, false
}

// appendNumeric encodes d for numeric or numeric(p, s). Decimals that do not
// fit the scale are refused, not rounded: what would be compared here and in
// the API would else be two numbers.
func (c *column) appendNumeric(dst []byte, d *decimal) ([]byte, *problem) {
	if d.special != 0 {
		if d.special != numericNaN && c.t.Precision > 0 {
			return dst, problemf(stateOutOfRange, "a numeric with precision cannot be infinite")
		}
		return append(dst, 0, 0, 0, 0, byte(d.special>>8), 0, 0, 0), nil
	}
	dscale := d.scale()
	if c.t.Precision > 0 {
		p, s := int(c.t.Precision), int(c.t.Scale)
		if d.first >= 0 {
			if d.last+1-d.point() > s {
				return dst, problemf(stateOutOfRange, "it has digits past the scale of %d that would be lost", s)
			}
			if d.point()-d.first > p-s {
				return dst, problemf(stateOutOfRange, "it has more than %d digits before the decimal point", p-s)
			}
		}
		dscale = max(s, 0)
	}
	if dscale > maxNumericScale {
		if d.needs() > maxNumericScale {
			return dst, problemf(stateOutOfRange, "it has more than %d decimals", maxNumericScale)
		}
		dscale = maxNumericScale
	}
	if d.first < 0 {
		return append(dst, 0, 0, 0, 0, 0, 0, byte(dscale>>8), byte(dscale)), nil
	}
	point := d.point()
	weight := floorDiv4(point - 1 - d.first)
	low := floorDiv4(point - 1 - d.last)
	n := weight - low + 1
	if weight > maxNumericWeight || n > maxNumericDigits {
		return dst, problemf(stateOutOfRange, "it has too many digits")
	}
	sign := uint16(numericPositive)
	if d.neg {
		sign = numericNegative
	}
	dst = append(dst, byte(n>>8), byte(n), byte(weight>>8), byte(weight),
		byte(sign>>8), byte(sign), byte(dscale>>8), byte(dscale))
	total := len(d.whole) + len(d.frac)
	i := point - 4*weight - 4 // digit with the decimal exponent 4*weight+3
	for range n {
		g := 0
		for range 4 {
			g *= 10
			if i >= 0 && i < total {
				g += int(d.digit(i))
			}
			i++
		}
		dst = append(dst, byte(g>>8), byte(g))
	}
	return dst, nil
}

// maxScaled is the most that putScaled writes.
const maxScaled = 8 + 2*6

func appendScaled(dst []byte, unscaled int64, scale int) []byte {
	var a [maxScaled]byte
	return append(dst, a[:putScaled(a[:], unscaled, scale)]...)
}

// putScaled encodes unscaled / 10^scale, 0 <= scale <= 18, for a numeric
// without precision into dst, which has room for maxScaled bytes.
func putScaled(dst []byte, unscaled int64, scale int) int {
	sign := uint64(numericPositive)
	u := uint64(unscaled)
	if unscaled < 0 {
		sign, u = numericNegative, -u
	}
	var groups [6]uint16 // least significant first
	n := 0
	switch scale & 3 { // the last group may have decimals that are not there
	case 1:
		groups[0], u, n = uint16(u%10*1000), u/10, 1
	case 2:
		groups[0], u, n = uint16(u%100*100), u/100, 1
	case 3:
		groups[0], u, n = uint16(u%1000*10), u/1000, 1
	}
	for ; u > 0; u /= 10000 {
		groups[n] = uint16(u % 10000)
		n++
	}
	decimals := (scale + 3) / 4 // groups after the point
	for n > 0 && groups[n-1] == 0 {
		n--
	}
	low := 0
	for low < n && groups[low] == 0 {
		low++
	}
	weight := n - 1 - decimals
	if n == 0 {
		weight, sign = 0, numericPositive
	}
	_ = dst[maxScaled-1]
	binary.BigEndian.PutUint64(dst, uint64(n-low)<<48|uint64(uint16(weight))<<32|sign<<16|uint64(scale))
	at := 8
	for i := n - 1; i >= low; i-- {
		binary.BigEndian.PutUint16(dst[at:], groups[i])
		at += 2
	}
	return at
}

// appendScaledText writes unscaled / 10^scale in decimal.
func appendScaledText(dst []byte, unscaled int64, scale int) []byte {
	u := uint64(unscaled)
	if unscaled < 0 {
		dst, u = append(dst, '-'), -u
	}
	start := len(dst)
	dst = appendUint(dst, u)
	if scale == 0 {
		return dst
	}
	for len(dst)-start <= scale {
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = '0'
	}
	dst = append(dst, 0)
	point := len(dst) - 1 - scale
	copy(dst[point+1:], dst[point:])
	dst[point] = '.'
	return dst
}

func floorDiv4(x int) int { return x >> 2 }

// decodeNumeric gives the text that numeric_out would.
func decodeNumeric(b []byte) (string, error) {
	if len(b) < 8 {
		return "", badBinary("numeric of %d bytes", len(b))
	}
	n := int(binary.BigEndian.Uint16(b))
	weight := int(int16(binary.BigEndian.Uint16(b[2:])))
	sign := binary.BigEndian.Uint16(b[4:])
	dscale := int(binary.BigEndian.Uint16(b[6:]))
	if len(b) != 8+2*n {
		return "", badBinary("numeric of %d bytes for %d digits", len(b), n)
	}
	if n > maxNumericDigits {
		return "", notCarried("a numeric of more than %d digits cannot be sent to an API, as PostgreSQL could not read it back", 4*maxNumericDigits)
	}
	switch sign {
	case numericNaN:
		return "NaN", nil
	case numericPosInf:
		return "Infinity", nil
	case numericNegInf:
		return "-Infinity", nil
	case numericPositive, numericNegative:
	default:
		return "", badBinary("numeric with sign %#x", sign)
	}
	if dscale > maxNumericScale {
		return "", badBinary("numeric with scale %d", dscale)
	}
	group := func(i int) (uint16, error) { // digit of weight weight-i
		if i < 0 || i >= n {
			return 0, nil
		}
		g := binary.BigEndian.Uint16(b[8+2*i:])
		if g > 9999 {
			return 0, badBinary("numeric with digit %d", g)
		}
		return g, nil
	}
	zero := true
	for i := range n {
		g, err := group(i)
		if err != nil {
			return "", err
		}
		// Digits below the scale are cut off, as numeric_recv does.
		if g != 0 {
			zero = false
		}
	}
	out := make([]byte, 0, 16+4*max(weight, 0)+dscale)
	if sign == numericNegative && !zero {
		out = append(out, '-')
	}
	if weight < 0 {
		out = append(out, '0')
	}
	for w := weight; w >= 0; w-- {
		g, _ := group(weight - w)
		if w == weight {
			out = appendUint(out, uint64(g))
		} else {
			out = append(out, byte('0'+g/1000), byte('0'+g/100%10), byte('0'+g/10%10), byte('0'+g%10))
		}
	}
	if dscale > 0 {
		out = append(out, '.')
		for k, w := 0, -1; k < dscale; w-- {
			g, _ := group(weight - w)
			for _, digit := range [4]byte{byte(g / 1000), byte(g / 100 % 10), byte(g / 10 % 10), byte(g % 10)} {
				if k < dscale {
					out = append(out, '0'+digit)
					k++
				}
			}
		}
	}
	return string(out), nil
}
