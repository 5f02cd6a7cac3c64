//! What the products are called: names put together from word lists.

use rand::Rng;
use rand::seq::IndexedRandom;

const LOOKS: [&str; 42] = [
    "AMBER", "BRAIDED", "BRASS", "CHALK WHITE", "CHECKED", "CLOVER", "COPPER", "CORAL", "DAPPLED", "DUSTY ROSE",
    "EMBROIDERED", "ENAMEL", "FERN GREEN", "FLECKED", "FROSTY", "GILDED", "GINGHAM", "HAMMERED", "HEATHER", "INDIGO",
    "IVORY", "LACQUERED", "LINEN", "MARBLED", "MIDNIGHT BLUE", "MOSS", "OATMEAL", "OCHRE", "PATCHWORK", "PEARL",
    "PLAITED", "QUILTED", "RIBBED", "SAFFRON", "SCALLOPED", "SLATE", "SPECKLED", "STRIPED", "TERRACOTTA", "TWEED",
    "WALNUT", "WOVEN",
];

const THINGS: [&str; 58] = [
    "APRON", "BATH MAT", "BEAKER", "BELL JAR", "BIRD TABLE", "BOOKEND", "BOOT RACK", "BREAD CROCK", "BUNTING REEL",
    "BUTTER DISH", "CAKE DOME", "CANDLE SNUFFER", "CARAFE", "CHUTNEY POT", "CLOTH NAPKIN", "COAT PEG", "COASTER",
    "CUSHION PAD", "DOOR WEDGE", "DRAUGHT STOPPER", "EGG CUP", "FRUIT BOWL", "GARDEN LANTERN", "GIFT CRATE",
    "HERB PLANTER", "HONEY DIPPER", "JAM FUNNEL", "JUG", "KEY RACK", "KNITTING BAG", "LETTER TRAY", "LUNCH PAIL",
    "MAGNET", "MEASURING SPOON", "MUFFIN TIN", "NAPKIN RING", "NESTING BASKET", "NOTEBOOK", "OVEN GLOVE", "PAPER GARLAND",
    "PARTY HAT", "PASTRY BRUSH", "PENCIL POT", "PICNIC RUG", "PLACE CARD", "PUDDING BASIN", "RECIPE FILE", "SHOE SCRAPER",
    "SOAP DISH", "SPICE RACK", "STORAGE TIN", "SUGAR BOWL", "TEA TOWEL", "TOAST RACK", "TRIVET", "WALL HOOK",
    "WASH BAG", "WREATH",
];

const MOTIFS: [&str; 24] = [
    "ACORN", "BADGER", "BEEHIVE", "BRAMBLE", "COBBLESTONE", "DANDELION", "FARMYARD", "HARBOUR", "HEDGEROW", "HOLLYHOCK",
    "KINGFISHER", "LIGHTHOUSE", "MOONLIT", "ORCHARD", "OTTER", "PADDLE STEAMER", "POPPY FIELD", "PUFFIN", "ROCKING HORSE",
    "SEASHELL", "SNOWDROP", "SWALLOW", "VILLAGE FETE", "WINTER FOREST",
];

const SIZES: [&str; 6] = ["SMALL", "LARGE", "MINI", "TALL", "SINGLE", "DEEP"];

/// What somebody notes at a movement of stock; most are left empty.
pub(crate) const STOCK_NOTES: [&str; 9] =
    ["", "", "", "counted", "broken in transit", "water damage", "recount", "given away, fair", "?"];

/// A product's name. Some hold a comma or a quotation mark, as names do.
pub(crate) fn product_name(rng: &mut impl Rng) -> String {
    let (look, thing) = (pick(&LOOKS, rng), pick(&THINGS, rng));
    match rng.random_range(0..20) {
        0..=5 => format!("{look} {thing}"),
        6..=10 => format!("{look} {thing} {}", pick(&MOTIFS, rng)),
        11..=13 => format!("{} {thing} {look}", pick(&MOTIFS, rng)),
        14..=15 => format!("{thing} {look} {}", pick(&SIZES, rng)),
        16..=17 => format!("SET OF {} {look} {thing}S", rng.random_range(2..=12)),
        18 => format!("{thing}, {} , {look}", pick(&MOTIFS, rng)),
        _ => format!("{look} {thing} {}\" {}", rng.random_range(4..=24), pick(&SIZES, rng)),
    }
}

fn pick(words: &[&'static str], rng: &mut impl Rng) -> &'static str {
    words.choose(rng).expect("the lists are not empty")
}
