/* Character references of HTML: the names of HTML 4 and those that mail uses beside them. */
#include "mime/html.h"

#include <stdlib.h>

/* Sorted by their bytes. */
static const struct row {
    struct str name;
    uint32_t character;
} names[] = {
    {STR_INIT("AElig"), 0xc6},     {STR_INIT("AMP"), 0x26},
    {STR_INIT("Aacute"), 0xc1},    {STR_INIT("Acirc"), 0xc2},
    {STR_INIT("Agrave"), 0xc0},    {STR_INIT("Alpha"), 0x391},
    {STR_INIT("Aring"), 0xc5},     {STR_INIT("Atilde"), 0xc3},
    {STR_INIT("Auml"), 0xc4},      {STR_INIT("Beta"), 0x392},
    {STR_INIT("COPY"), 0xa9},      {STR_INIT("Cacute"), 0x106},
    {STR_INIT("Ccaron"), 0x10c},   {STR_INIT("Ccedil"), 0xc7},
    {STR_INIT("Chi"), 0x3a7},      {STR_INIT("Dagger"), 0x2021},
    {STR_INIT("Delta"), 0x394},    {STR_INIT("ETH"), 0xd0},
    {STR_INIT("Eacute"), 0xc9},    {STR_INIT("Ecirc"), 0xca},
    {STR_INIT("Egrave"), 0xc8},    {STR_INIT("Epsilon"), 0x395},
    {STR_INIT("Eta"), 0x397},      {STR_INIT("Euml"), 0xcb},
    {STR_INIT("GT"), 0x3e},        {STR_INIT("Gamma"), 0x393},
    {STR_INIT("Iacute"), 0xcd},    {STR_INIT("Icirc"), 0xce},
    {STR_INIT("Idot"), 0x130},     {STR_INIT("Igrave"), 0xcc},
    {STR_INIT("Iota"), 0x399},     {STR_INIT("Iuml"), 0xcf},
    {STR_INIT("Kappa"), 0x39a},    {STR_INIT("LT"), 0x3c},
    {STR_INIT("Lambda"), 0x39b},   {STR_INIT("Lstrok"), 0x141},
    {STR_INIT("Mu"), 0x39c},       {STR_INIT("NewLine"), 0xa},
    {STR_INIT("NoBreak"), 0x2060}, {STR_INIT("Ntilde"), 0xd1},
    {STR_INIT("Nu"), 0x39d},       {STR_INIT("OElig"), 0x152},
    {STR_INIT("Oacute"), 0xd3},    {STR_INIT("Ocirc"), 0xd4},
    {STR_INIT("Ograve"), 0xd2},    {STR_INIT("Omega"), 0x3a9},
    {STR_INIT("Omicron"), 0x39f},  {STR_INIT("Oslash"), 0xd8},
    {STR_INIT("Otilde"), 0xd5},    {STR_INIT("Ouml"), 0xd6},
    {STR_INIT("Phi"), 0x3a6},      {STR_INIT("Pi"), 0x3a0},
    {STR_INIT("Prime"), 0x2033},   {STR_INIT("Psi"), 0x3a8},
    {STR_INIT("QUOT"), 0x22},      {STR_INIT("REG"), 0xae},
    {STR_INIT("Rho"), 0x3a1},      {STR_INIT("Sacute"), 0x15a},
    {STR_INIT("Scaron"), 0x160},   {STR_INIT("Scedil"), 0x15e},
    {STR_INIT("Sigma"), 0x3a3},    {STR_INIT("THORN"), 0xde},
    {STR_INIT("Tab"), 0x9},        {STR_INIT("Tau"), 0x3a4},
    {STR_INIT("Theta"), 0x398},    {STR_INIT("Uacute"), 0xda},
    {STR_INIT("Ucirc"), 0xdb},     {STR_INIT("Ugrave"), 0xd9},
    {STR_INIT("Upsilon"), 0x3a5},  {STR_INIT("Uuml"), 0xdc},
    {STR_INIT("Xi"), 0x39e},       {STR_INIT("Yacute"), 0xdd},
    {STR_INIT("Yuml"), 0x178},     {STR_INIT("Zcaron"), 0x17d},
    {STR_INIT("Zdot"), 0x17b},     {STR_INIT("ZeroWidthSpace"), 0x200b},
    {STR_INIT("Zeta"), 0x396},     {STR_INIT("aacute"), 0xe1},
    {STR_INIT("abreve"), 0x103},   {STR_INIT("acirc"), 0xe2},
    {STR_INIT("acute"), 0xb4},     {STR_INIT("aelig"), 0xe6},
    {STR_INIT("agrave"), 0xe0},    {STR_INIT("alefsym"), 0x2135},
    {STR_INIT("alpha"), 0x3b1},    {STR_INIT("amp"), 0x26},
    {STR_INIT("and"), 0x2227},     {STR_INIT("ang"), 0x2220},
    {STR_INIT("aogon"), 0x105},    {STR_INIT("apos"), 0x27},
    {STR_INIT("aring"), 0xe5},     {STR_INIT("ast"), 0x2a},
    {STR_INIT("asymp"), 0x2248},   {STR_INIT("atilde"), 0xe3},
    {STR_INIT("auml"), 0xe4},      {STR_INIT("bdquo"), 0x201e},
    {STR_INIT("beta"), 0x3b2},     {STR_INIT("brvbar"), 0xa6},
    {STR_INIT("bull"), 0x2022},    {STR_INIT("cacute"), 0x107},
    {STR_INIT("cap"), 0x2229},     {STR_INIT("ccaron"), 0x10d},
    {STR_INIT("ccedil"), 0xe7},    {STR_INIT("cedil"), 0xb8},
    {STR_INIT("cent"), 0xa2},      {STR_INIT("check"), 0x2713},
    {STR_INIT("chi"), 0x3c7},      {STR_INIT("circ"), 0x2c6},
    {STR_INIT("clubs"), 0x2663},   {STR_INIT("colon"), 0x3a},
    {STR_INIT("comma"), 0x2c},     {STR_INIT("commat"), 0x40},
    {STR_INIT("cong"), 0x2245},    {STR_INIT("copy"), 0xa9},
    {STR_INIT("crarr"), 0x21b5},   {STR_INIT("cup"), 0x222a},
    {STR_INIT("curren"), 0xa4},    {STR_INIT("dArr"), 0x21d3},
    {STR_INIT("dagger"), 0x2020},  {STR_INIT("darr"), 0x2193},
    {STR_INIT("deg"), 0xb0},       {STR_INIT("delta"), 0x3b4},
    {STR_INIT("diams"), 0x2666},   {STR_INIT("divide"), 0xf7},
    {STR_INIT("dollar"), 0x24},    {STR_INIT("eacute"), 0xe9},
    {STR_INIT("ecaron"), 0x11b},   {STR_INIT("ecirc"), 0xea},
    {STR_INIT("egrave"), 0xe8},    {STR_INIT("empty"), 0x2205},
    {STR_INIT("emsp"), 0x2003},    {STR_INIT("ensp"), 0x2002},
    {STR_INIT("eogon"), 0x119},    {STR_INIT("epsilon"), 0x3b5},
    {STR_INIT("equals"), 0x3d},    {STR_INIT("equiv"), 0x2261},
    {STR_INIT("eta"), 0x3b7},      {STR_INIT("eth"), 0xf0},
    {STR_INIT("euml"), 0xeb},      {STR_INIT("euro"), 0x20ac},
    {STR_INIT("excl"), 0x21},      {STR_INIT("exist"), 0x2203},
    {STR_INIT("fnof"), 0x192},     {STR_INIT("forall"), 0x2200},
    {STR_INIT("frac12"), 0xbd},    {STR_INIT("frac14"), 0xbc},
    {STR_INIT("frac34"), 0xbe},    {STR_INIT("frasl"), 0x2044},
    {STR_INIT("gamma"), 0x3b3},    {STR_INIT("gbreve"), 0x11f},
    {STR_INIT("ge"), 0x2265},      {STR_INIT("gt"), 0x3e},
    {STR_INIT("hArr"), 0x21d4},    {STR_INIT("hairsp"), 0x200a},
    {STR_INIT("harr"), 0x2194},    {STR_INIT("hearts"), 0x2665},
    {STR_INIT("hellip"), 0x2026},  {STR_INIT("hyphen"), 0x2010},
    {STR_INIT("iacute"), 0xed},    {STR_INIT("icirc"), 0xee},
    {STR_INIT("iexcl"), 0xa1},     {STR_INIT("igrave"), 0xec},
    {STR_INIT("image"), 0x2111},   {STR_INIT("infin"), 0x221e},
    {STR_INIT("inodot"), 0x131},   {STR_INIT("int"), 0x222b},
    {STR_INIT("iota"), 0x3b9},     {STR_INIT("iquest"), 0xbf},
    {STR_INIT("isin"), 0x2208},    {STR_INIT("iuml"), 0xef},
    {STR_INIT("kappa"), 0x3ba},    {STR_INIT("lArr"), 0x21d0},
    {STR_INIT("lambda"), 0x3bb},   {STR_INIT("lang"), 0x2329},
    {STR_INIT("laquo"), 0xab},     {STR_INIT("larr"), 0x2190},
    {STR_INIT("lbrace"), 0x7b},    {STR_INIT("lceil"), 0x2308},
    {STR_INIT("ldquo"), 0x201c},   {STR_INIT("le"), 0x2264},
    {STR_INIT("lfloor"), 0x230a},  {STR_INIT("lowast"), 0x2217},
    {STR_INIT("lowbar"), 0x5f},    {STR_INIT("loz"), 0x25ca},
    {STR_INIT("lpar"), 0x28},      {STR_INIT("lrm"), 0x200e},
    {STR_INIT("lsaquo"), 0x2039},  {STR_INIT("lsqb"), 0x5b},
    {STR_INIT("lsquo"), 0x2018},   {STR_INIT("lstrok"), 0x142},
    {STR_INIT("lt"), 0x3c},        {STR_INIT("macr"), 0xaf},
    {STR_INIT("mdash"), 0x2014},   {STR_INIT("micro"), 0xb5},
    {STR_INIT("middot"), 0xb7},    {STR_INIT("minus"), 0x2212},
    {STR_INIT("mu"), 0x3bc},       {STR_INIT("nabla"), 0x2207},
    {STR_INIT("nacute"), 0x144},   {STR_INIT("nbsp"), 0xa0},
    {STR_INIT("ndash"), 0x2013},   {STR_INIT("ne"), 0x2260},
    {STR_INIT("ni"), 0x220b},      {STR_INIT("not"), 0xac},
    {STR_INIT("notin"), 0x2209},   {STR_INIT("nsub"), 0x2284},
    {STR_INIT("ntilde"), 0xf1},    {STR_INIT("nu"), 0x3bd},
    {STR_INIT("num"), 0x23},       {STR_INIT("numsp"), 0x2007},
    {STR_INIT("oacute"), 0xf3},    {STR_INIT("ocirc"), 0xf4},
    {STR_INIT("odblac"), 0x151},   {STR_INIT("oelig"), 0x153},
    {STR_INIT("ograve"), 0xf2},    {STR_INIT("oline"), 0x203e},
    {STR_INIT("omega"), 0x3c9},    {STR_INIT("omicron"), 0x3bf},
    {STR_INIT("oplus"), 0x2295},   {STR_INIT("or"), 0x2228},
    {STR_INIT("ordf"), 0xaa},      {STR_INIT("ordm"), 0xba},
    {STR_INIT("oslash"), 0xf8},    {STR_INIT("otilde"), 0xf5},
    {STR_INIT("otimes"), 0x2297},  {STR_INIT("ouml"), 0xf6},
    {STR_INIT("para"), 0xb6},      {STR_INIT("part"), 0x2202},
    {STR_INIT("percnt"), 0x25},    {STR_INIT("period"), 0x2e},
    {STR_INIT("permil"), 0x2030},  {STR_INIT("perp"), 0x22a5},
    {STR_INIT("phi"), 0x3c6},      {STR_INIT("phone"), 0x260e},
    {STR_INIT("pi"), 0x3c0},       {STR_INIT("piv"), 0x3d6},
    {STR_INIT("plus"), 0x2b},      {STR_INIT("plusmn"), 0xb1},
    {STR_INIT("pound"), 0xa3},     {STR_INIT("prime"), 0x2032},
    {STR_INIT("prod"), 0x220f},    {STR_INIT("prop"), 0x221d},
    {STR_INIT("psi"), 0x3c8},      {STR_INIT("puncsp"), 0x2008},
    {STR_INIT("quest"), 0x3f},     {STR_INIT("quot"), 0x22},
    {STR_INIT("rArr"), 0x21d2},    {STR_INIT("radic"), 0x221a},
    {STR_INIT("rang"), 0x232a},    {STR_INIT("raquo"), 0xbb},
    {STR_INIT("rarr"), 0x2192},    {STR_INIT("rarrw"), 0x219d},
    {STR_INIT("rbrace"), 0x7d},    {STR_INIT("rcaron"), 0x159},
    {STR_INIT("rceil"), 0x2309},   {STR_INIT("rdquo"), 0x201d},
    {STR_INIT("real"), 0x211c},    {STR_INIT("reg"), 0xae},
    {STR_INIT("rfloor"), 0x230b},  {STR_INIT("rho"), 0x3c1},
    {STR_INIT("rlm"), 0x200f},     {STR_INIT("rpar"), 0x29},
    {STR_INIT("rsaquo"), 0x203a},  {STR_INIT("rsqb"), 0x5d},
    {STR_INIT("rsquo"), 0x2019},   {STR_INIT("sacute"), 0x15b},
    {STR_INIT("sbquo"), 0x201a},   {STR_INIT("scaron"), 0x161},
    {STR_INIT("scedil"), 0x15f},   {STR_INIT("sdot"), 0x22c5},
    {STR_INIT("sect"), 0xa7},      {STR_INIT("semi"), 0x3b},
    {STR_INIT("shy"), 0xad},       {STR_INIT("sigma"), 0x3c3},
    {STR_INIT("sigmaf"), 0x3c2},   {STR_INIT("sim"), 0x223c},
    {STR_INIT("sol"), 0x2f},       {STR_INIT("spades"), 0x2660},
    {STR_INIT("star"), 0x2606},    {STR_INIT("starf"), 0x2605},
    {STR_INIT("sub"), 0x2282},     {STR_INIT("sube"), 0x2286},
    {STR_INIT("sum"), 0x2211},     {STR_INIT("sup"), 0x2283},
    {STR_INIT("sup1"), 0xb9},      {STR_INIT("sup2"), 0xb2},
    {STR_INIT("sup3"), 0xb3},      {STR_INIT("supe"), 0x2287},
    {STR_INIT("szlig"), 0xdf},     {STR_INIT("tau"), 0x3c4},
    {STR_INIT("there4"), 0x2234},  {STR_INIT("theta"), 0x3b8},
    {STR_INIT("thetasym"), 0x3d1}, {STR_INIT("thinsp"), 0x2009},
    {STR_INIT("thorn"), 0xfe},     {STR_INIT("tilde"), 0x2dc},
    {STR_INIT("times"), 0xd7},     {STR_INIT("trade"), 0x2122},
    {STR_INIT("uArr"), 0x21d1},    {STR_INIT("uacute"), 0xfa},
    {STR_INIT("uarr"), 0x2191},    {STR_INIT("ucirc"), 0xfb},
    {STR_INIT("udblac"), 0x171},   {STR_INIT("ugrave"), 0xf9},
    {STR_INIT("uml"), 0xa8},       {STR_INIT("upsih"), 0x3d2},
    {STR_INIT("upsilon"), 0x3c5},  {STR_INIT("uring"), 0x16f},
    {STR_INIT("uuml"), 0xfc},      {STR_INIT("vert"), 0x7c},
    {STR_INIT("weierp"), 0x2118},  {STR_INIT("xi"), 0x3be},
    {STR_INIT("yacute"), 0xfd},    {STR_INIT("yen"), 0xa5},
    {STR_INIT("yuml"), 0xff},      {STR_INIT("zacute"), 0x17a},
    {STR_INIT("zcaron"), 0x17e},   {STR_INIT("zdot"), 0x17c},
    {STR_INIT("zeta"), 0x3b6},     {STR_INIT("zwj"), 0x200d},
    {STR_INIT("zwnj"), 0x200c},
};
enum { NAMES = sizeof names / sizeof *names };

static int by_name(const void *name, const void *row)
{
    return str_cmp(*(const struct str *)name, ((const struct row *)row)->name);
}

/* What 128 to 159 are mostly meant to be, and browsers take them for: Windows-1252. */
static const uint16_t uppers[32] = {
    0x20ac, 0xfffd, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0xfffd, 0x017d, 0xfffd, 0xfffd, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0xfffd, 0x017e, 0x0178,
};

static uint32_t number_of(struct str digits, unsigned base)
{
    uint32_t n = 0;
    for (size_t i = 0; i < digits.n; i++) {
        unsigned d = (unsigned)ascii_hex(digits.p[i]);
        if (d >= base)
            return 0;
        n = n > 0x10ffff ? n : n * base + d;
    }
    if (!digits.n)
        return 0;
    if (n >= 128 && n < 160)
        return uppers[n - 128];
    return n == 0 || n > 0x10ffff || (n >= 0xd800 && n < 0xe000) ? 0xfffd : n;
}

uint32_t mime_html_character(struct str reference)
{
    if (str_istarts(reference, STR("#x")))
        return number_of(str_skip(reference, 2), 16);
    if (str_starts(reference, STR("#")))
        return number_of(str_skip(reference, 1), 10);
    const struct row *row = bsearch(&reference, names, NAMES, sizeof *names, by_name);
    return row ? row->character : 0;
}
