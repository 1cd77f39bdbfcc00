//! What synthetic records are about, who wrote them, and where. No text holds a quotation mark, a backslash or a tab.

/// A language with all that is said in it.
pub(super) struct Language {
    pub(super) code: &'static str,
    /// What a record is about, and its subject headings.
    pub(super) topics: &'static [(&'static str, [&'static str; 2])],
    pub(super) aspects: &'static [&'static str],
    pub(super) places: &'static [&'static str],
}

/// The first one is as frequent as the others together.
pub(super) const LANGUAGES: [Language; 5] = [
    Language {
        code: "eng",
        topics: &[
            ("Snow cover and glacier mass balance", ["ice", "climate"]),
            ("Sleep and screen time of adolescents", ["sleep", "health"]),
            ("Orbits of small satellites after solar storms", ["orbit", "space weather"]),
            ("Marginal notes in fifteenth-century manuscripts", ["manuscript", "palaeography"]),
            ("Nitrate in groundwater below arable land", ["water", "agriculture"]),
            ("Bark beetle outbreaks in managed spruce forests", ["forest", "insects"]),
            ("Wage gaps after parental leave", ["labour", "family"]),
            ("Perovskite cells under humid heat", ["photovoltaics", "materials"]),
            ("Dialect boundaries in recorded speech", ["dialect", "speech"]),
            ("Antibiotic resistance in urban rivers", ["resistance", "microbiology"]),
            ("Traffic noise and nesting of songbirds", ["noise", "birds"]),
            ("Proof assistants in undergraduate teaching", ["logic", "teaching"]),
        ],
        aspects: &[
            "field measurements",
            "a longitudinal study",
            "a comparison of methods",
            "results of a survey",
            "a reproducible workflow",
            "an annotated corpus",
            "model runs and their input",
            "a systematic review",
        ],
        places: &[
            "High Tatras",
            "Bohemian Forest",
            "Lake Geneva",
            "Scottish Borders",
            "Po Valley",
            "Moravia",
        ],
    },
    Language {
        code: "deu",
        topics: &[
            ("Schneedecke und Gletschermassenbilanz", ["ice", "climate"]),
            ("Schlaf und Bildschirmzeit bei Jugendlichen", ["sleep", "health"]),
            ("Nitrat im Grundwasser unter Ackerland", ["water", "agriculture"]),
            ("Randnotizen in Handschriften des 15. Jahrhunderts", ["manuscript", "palaeography"]),
            ("Borkenkäfer in bewirtschafteten Fichtenwäldern", ["forest", "insects"]),
            ("Dialektgrenzen in Tonaufnahmen", ["dialect", "speech"]),
        ],
        aspects: &["Feldmessungen", "eine Längsschnittstudie", "ein Methodenvergleich", "eine Übersicht"],
        places: &["Hohe Tatra", "Böhmerwald", "Genfersee", "Südtirol", "Mähren"],
    },
    Language {
        code: "fra",
        topics: &[
            ("Couverture neigeuse et bilan de masse des glaciers", ["ice", "climate"]),
            ("Sommeil et temps passé devant les écrans chez les lycéens", ["sleep", "health"]),
            ("Nitrates dans les eaux souterraines", ["water", "agriculture"]),
            ("Notes marginales dans les manuscrits du XVe siècle", ["manuscript", "palaeography"]),
            ("Résistance aux antibiotiques en rivière urbaine", ["resistance", "microbiology"]),
        ],
        aspects: &[
            "mesures de terrain",
            "étude longitudinale",
            "comparaison de méthodes",
            "revue systématique",
        ],
        places: &["Hautes Tatras", "lac Léman", "plaine du Pô", "Moravie"],
    },
    Language {
        code: "spa",
        topics: &[
            ("Sueño y tiempo de pantalla en estudiantes de secundaria", ["sleep", "health"]),
            ("Órbitas de satélites pequeños tras tormentas solares", ["orbit", "space weather"]),
            ("Ruido del tráfico y nidificación de aves", ["noise", "birds"]),
            ("Brecha salarial tras el permiso parental", ["labour", "family"]),
        ],
        aspects: &["mediciones de campo", "estudio longitudinal", "comparación de métodos", "corpus anotado"],
        places: &["Altos Tatras", "Sierra Nevada", "valle del Po", "Moravia"],
    },
    Language {
        code: "ces",
        topics: &[
            ("Sněhová pokrývka a bilance hmoty ledovců", ["ice", "climate"]),
            ("Spánek a čas u obrazovky u dospívajících", ["sleep", "health"]),
            ("Kůrovec v hospodářských smrčinách", ["forest", "insects"]),
            ("Marginální poznámky v rukopisech 15. století", ["manuscript", "palaeography"]),
            ("Nářeční hranice ve zvukových nahrávkách", ["dialect", "speech"]),
        ],
        aspects: &["terénní měření", "longitudinální studie", "srovnání metod", "systematický přehled"],
        places: &["Vysoké Tatry", "Šumava", "Ženevské jezero", "Morava"],
    },
];

pub(super) const FAMILY_NAMES: [&str; 40] = [
    "Schröder",
    "García Núñez",
    "Horváthová",
    "Kowalczyk",
    "Dupont",
    "Lindqvist",
    "Okafor",
    "Svobodová",
    "Novák",
    "Dvořák",
    "Müller",
    "Weber",
    "Rossi",
    "Bianchi",
    "Smith",
    "Brown",
    "O’Neill",
    "Martin",
    "Bernard",
    "Fernández",
    "Silva",
    "Ferreira",
    "Nagy",
    "Szabó",
    "Popescu",
    "Ivanov",
    "Petrov",
    "Shevchenko",
    "Jansen",
    "de Vries",
    "Hansen",
    "Nielsen",
    "Korhonen",
    "Tamm",
    "Ozols",
    "Yılmaz",
    "Tanaka",
    "Zhang",
    "Papadopoulou",
    "Kovač",
];

pub(super) const GIVEN_NAMES: [&str; 40] = [
    "Jürgen", "Lucía", "Zuzana", "Łukasz", "Mathieu", "Åsa", "Chidi", "Eliška", "Jan", "Marie", "Anna",
    "Thomas", "Giulia", "Marco", "Emma", "James", "Siobhán", "Camille", "Louis", "Carmen", "João", "Beatriz",
    "Gergely", "Ilona", "Andrei", "Dimitar", "Olena", "Sanne", "Pieter", "Freja", "Søren", "Aino", "Kadri",
    "Jānis", "Elif", "Haruto", "Wei", "Eleni", "Tomáš", "Petra",
];

pub(super) const AFFILIATIONS: [&str; 20] = [
    "Universität Wien",
    "Universidad de Granada",
    "Univerzita Komenského",
    "Uniwersytet Jagielloński",
    "CNRS",
    "Uppsala universitet",
    "University of Lagos",
    "Masaryk University",
    "Univerzita Karlova",
    "ETH Zürich",
    "Università di Bologna",
    "University of Edinburgh",
    "Universidade do Porto",
    "Eötvös Loránd Tudományegyetem",
    "Universiteit Utrecht",
    "Helsingin yliopisto",
    "Tartu Ülikool",
    "Boğaziçi Üniversitesi",
    "Kyoto University",
    "CESNET",
];

pub(super) const PUBLISHERS: [&str; 5] =
    ["Demo Repository", "Zenodo", "Masaryk University Press", "Universitätsverlag", "Presses du Léman"];

/// Ids of the vocabularies, the most frequent ones several times.
pub(super) const LICENCES: [&str; 8] =
    ["cc-by-4.0", "cc-by-4.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc0-1.0", "odbl-1.0", "mit"];
pub(super) const RESOURCE_TYPES: [&str; 12] = [
    "publication-article",
    "publication-article",
    "publication-article",
    "publication-preprint",
    "publication-thesis",
    "publication-report",
    "publication-conferencepaper",
    "dataset",
    "dataset",
    "software",
    "poster",
    "presentation",
];
