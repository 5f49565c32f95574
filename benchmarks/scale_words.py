"""The words that `scale_listing` puts listings together from: per language, per kind of product, per domain."""

from __future__ import annotations

from typing import NamedTuple

TYPES_IN_TABLE = 576
LISTINGS_IN_TABLE = 147_702


def _listed(text: str, mark: str = "|") -> list[str]:
    return [part.strip() for part in text.split(mark)]


_COMMON_TYPES = _listed(
    "CELLULAR_PHONE_CASE SHOES GROCERY HOME HOME_BED_AND_BATH HOME_FURNITURE_AND_DECOR CHAIR BOOT SANDAL ACCESSORY "
    "SOFA TABLE RUG HANDBAG SUITCASE BACKPACK HEALTH_PERSONAL_CARE KITCHEN OFFICE_PRODUCTS PET_SUPPLIES LAMP HAT "
    "SPORTING_GOODS OTTOMAN BED_FRAME DRINKING_CUP WALL_ART PILLOW BED FINERING FINEEARRING HARDWARE_HANDLE "
    "LIGHT_FIXTURE LIGHT_BULB JANITORIAL_SUPPLY WALLET SHELF CABINET CLOCK BENCH STOOL_SEATING DESK DRESSER HEADBOARD "
    "PLANTER MATTRESS VITAMIN ELECTRONIC_CABLE ABIS_BOOK SCREEN_PROTECTOR",
    " ",
)
_ROOMS = _listed(
    "KITCHEN GARDEN OFFICE BABY SPORT TRAVEL BATH CAR CAMERA PET SCHOOL CAMPING LAUNDRY PARTY MUSIC GAME HAIR "
    "DINING BEDROOM WORKSHOP OUTDOOR WINDOW",
    " ",
)
_THINGS = _listed(
    "STORAGE LIGHT TOOL STAND CLEANER BAG HOLDER COVER RACK SET BRUSH MAT BOX HOOK TRAY CLIP LABEL PUMP FAN KNIFE "
    "FILTER TIMER BASKET CHARGER CABLE",
    " ",
)
_COMPOSED = [f"{room}_{thing}" for thing in _THINGS for room in _ROOMS]
PRODUCT_TYPES = [*_COMMON_TYPES, *_COMPOSED][:TYPES_IN_TABLE]
"""All product types, the most frequent first."""


class Words(NamedTuple):
    """One language by its two-letter code; `colors` stand in the order of `en`, bullet points are put together."""

    code: str
    openings: list[str]
    closings: list[str]
    nouns: list[str]
    adjectives: list[str]
    colors: list[str]
    size: str
    made_for: str


def _words(
    code: str, openings: str, closings: str, nouns: str, adjectives: str, colors: str, size: str, made_for: str
) -> Words:
    return Words(
        code, _listed(openings), _listed(closings), _listed(nouns), _listed(adjectives), _listed(colors), size, made_for
    )


WORDS = {
    "en": _words(
        "en",
        "Designed in a modern style that lends itself to a range of looks and rooms|Crafted of solid hardwood with a "
        "hand-applied finish for lasting strength|Soft, breathable fabric that keeps its shape wash after wash|Made "
        "from premium quality materials that resist scratches, stains and fading|Includes everything that is "
        "needed to "
        "set it up within a few minutes|Cushioned insole and flexible outsole for comfort on every step|Energy saving "
        "LED with a warm white glow and a long rated life|Suitable for indoor and outdoor use in any season|Wide "
        "opening and several inner pockets keep small things in order|Dishwasher safe and free from BPA, lead and "
        "cadmium|Heavy-duty stainless steel construction with a rust resistant coating|Ideal gift for family and "
        "friends on birthdays, weddings and anniversaries|Compact size that fits easily into a drawer, a bag or a "
        "cabinet|Sourced from trusted growers and packed in a hygienic facility|Ergonomic handle for a secure and "
        "comfortable grip|Adjustable height and tilt to suit adults and children alike|Non-slip feet protect floors "
        "and keep everything in place|Removable and washable cover with a hidden zipper|Tested against strict "
        "standards for safety and durability|Generously sized with deep seats and plump cushions",
        "backed by a limited one-year warranty|easy to clean with a damp cloth|free returns for 30 days if it "
        "does not "
        "suit you|a good fit for small flats, dormitories and offices|assembles in 15 minutes or less with the "
        "included tools|measure your space before ordering|colours may vary slightly from screen to screen|do not "
        "bleach, tumble dry on low heat|an everyday essential at an affordable price|pairs well with other pieces of "
        "the same collection|for best results read the instructions on the package|ships ready to use, no batteries "
        "required|supports loads up to the stated weight without bending|keep in a cool and dry place away from "
        "direct "
        "sunlight|a timeless look that never goes out of fashion|please check the size chart before you buy",
        "Table Lamp|Armchair|Running Shoe|Coffee Mug|Cushion Cover|Storage Basket|Wall Shelf|Bath Towel|Travel Bag|"
        "Desk Organizer|Ring|Ankle Boot|Cotton T-Shirt|Frying Pan|Throw Blanket|Door Handle|Snack Mix|Notebook",
        "Modern|Classic|Rustic|Mid-Century|Lightweight|Heavy Duty|Premium|Soft|Foldable|Compact|Hand-Made|Elegant|"
        "Casual|Waterproof|Vintage|Slim|Extra Large|Natural",
        "Black|White|Blue|Red|Green|Grey|Brown|Beige|Pink|Yellow|Gold|Silver|Multicolor|Off-White",
        "Size",
        "for",
    ),
    "de": _words(
        "de",
        "Modernes Design, das zu vielen Räumen und Stilen passt|Aus massivem Holz gefertigt und von Hand geölt|"
        "Weicher, "
        "atmungsaktiver Stoff, der auch nach vielen Wäschen in Form bleibt|Hochwertige Materialien, kratzfest und "
        "pflegeleicht|Gepolsterte Innensohle für hohen Tragekomfort|Stromsparende LED mit warmweißem Licht|Für "
        "drinnen "
        "und draußen geeignet, das ganze Jahr über|Rutschfeste Füße schützen den Boden",
        "mit zwei Jahren Gewährleistung|lässt sich mit einem feuchten Tuch reinigen|in wenigen Minuten "
        "aufgebaut|ideal "
        "für kleine Wohnungen und Büros|bitte vor der Bestellung den Platz ausmessen|bei 30 °C waschbar, nicht "
        "bleichen|"
        "ein schönes Geschenk für Freunde und Familie",
        "Tischlampe|Sessel|Laufschuh|Kaffeebecher|Kissenbezug|Aufbewahrungskorb|Wandregal|Badetuch|Reisetasche|"
        "Stiefelette|Bratpfanne|Türgriff",
        "Modern|Klassisch|Rustikal|Leicht|Robust|Weich|Faltbar|Kompakt|Elegant|Wasserdicht|Schmal|Natürlich",
        "Schwarz|Weiß|Blau|Rot|Grün|Grau|Braun|Beige|Rosa|Gelb|Gold|Silber|Mehrfarbig|Cremeweiß",
        "Größe",
        "für",
    ),
    "es": _words(
        "es",
        "Diseño moderno que combina con muchos estilos y habitaciones|Fabricado en madera maciza con acabado a mano|"
        "Tejido suave y transpirable que conserva la forma lavado tras lavado|Materiales de primera calidad, "
        "resistentes a los arañazos|Plantilla acolchada y suela flexible para caminar con comodidad|Luz LED cálida de "
        "bajo consumo|Apto para interior y exterior durante todo el año|Patas antideslizantes que protegen el suelo",
        "con dos años de garantía|se limpia fácilmente con un paño húmedo|se monta en pocos minutos|ideal para pisos "
        "pequeños y oficinas|mida el espacio antes de comprar|lavar a 30 °C, no usar lejía|un regalo perfecto para "
        "cumpleaños",
        "Lámpara de mesa|Sillón|Zapatilla|Taza de café|Funda de cojín|Cesta|Estantería|Toalla de baño|Bolsa de viaje|"
        "Botín|Sartén|Tirador",
        "Moderno|Clásico|Rústico|Ligero|Resistente|Suave|Plegable|Compacto|Elegante|Impermeable|Fino|Natural",
        "Negro|Blanco|Azul|Rojo|Verde|Gris|Marrón|Beige|Rosa|Amarillo|Dorado|Plateado|Multicolor|Blanco roto",
        "Talla",
        "para",
    ),
    "fr": _words(
        "fr",
        "Un style moderne qui s'accorde avec toutes les pièces|Fabriqué en bois massif avec une finition à la main|"
        "Tissu doux et respirant qui garde sa forme lavage après lavage|Matériaux de qualité supérieure, "
        "résistants aux "
        "rayures|Semelle intérieure rembourrée pour un confort à chaque pas|Éclairage LED blanc chaud à faible "
        "consommation|Convient à l'intérieur comme à l'extérieur|Pieds antidérapants qui protègent le sol",
        "garantie de deux ans|s'essuie avec un chiffon humide|se monte en quelques minutes|idéal pour les petits "
        "appartements|mesurez la place avant de commander|lavable à 30 °C, sans javel|une belle idée de cadeau à Noël",
        "Lampe de table|Fauteuil|Chaussure de course|Tasse à café|Housse de coussin|Panier|Étagère|Serviette de bain|"
        "Sac de voyage|Bottine|Poêle|Poignée de porte",
        "Moderne|Classique|Rustique|Léger|Robuste|Doux|Pliable|Compact|Élégant|Imperméable|Mince|Naturel",
        "Noir|Blanc|Bleu|Rouge|Vert|Gris|Marron|Beige|Rose|Jaune|Doré|Argenté|Multicolore|Blanc cassé",
        "Taille",
        "pour",
    ),
    "it": _words(
        "it",
        "Design moderno che si adatta a molti ambienti|Realizzato in legno massello rifinito a mano|Tessuto morbido e "
        "traspirante che mantiene la forma|Materiali di alta qualità, resistenti ai graffi|Soletta imbottita per il "
        "massimo comfort|Luce LED calda a basso consumo|Adatto per interni ed esterni in ogni stagione",
        "con due anni di garanzia|si pulisce con un panno umido|si monta in pochi minuti|ideale per piccoli "
        "appartamenti|lavare a 30 °C, non candeggiare|un'ottima idea regalo per la città o la montagna",
        "Lampada da tavolo|Poltrona|Scarpa da corsa|Tazza da caffè|Federa|Cesto|Mensola|Asciugamano|Borsa da viaggio|"
        "Stivaletto|Padella|Maniglia",
        "Moderno|Classico|Rustico|Leggero|Robusto|Morbido|Pieghevole|Compatto|Elegante|Impermeabile|Sottile|Naturale",
        "Nero|Bianco|Blu|Rosso|Verde|Grigio|Marrone|Beige|Rosa|Giallo|Oro|Argento|Multicolore|Bianco sporco",
        "Taglia",
        "per",
    ),
    "nl": _words(
        "nl",
        "Modern ontwerp dat in elke kamer past|Gemaakt van massief hout en met de hand afgewerkt|Zachte, "
        "ademende stof "
        "die in model blijft|Hoogwaardig materiaal dat niet snel krast|Gevoerde binnenzool voor comfort bij elke stap|"
        "Zuinige led met warmwit licht|Geschikt voor binnen en buiten",
        "met twee jaar garantie|schoon te maken met een vochtige doek|binnen enkele minuten gemonteerd|ideaal voor "
        "kleine woningen|meet de ruimte op vóór u bestelt|wasbaar op 30 °C, niet bleken",
        "Tafellamp|Fauteuil|Hardloopschoen|Koffiemok|Kussenhoes|Mand|Wandplank|Badhanddoek|Reistas|Enkellaars|"
        "Koekenpan",
        "Modern|Klassiek|Rustiek|Licht|Stevig|Zacht|Opvouwbaar|Compact|Elegant|Waterdicht|Smal|Natuurlijk",
        "Zwart|Wit|Blauw|Rood|Groen|Grijs|Bruin|Beige|Roze|Geel|Goud|Zilver|Meerkleurig|Gebroken wit",
        "Maat",
        "voor",
    ),
    "ja": _words(
        "ja",
        "どんな部屋にも合うモダンなデザインで、長くお使いいただけます|"
        "無垢材を使用し、職人が手作業で仕上げました|通気性のよい柔らかな生地で、"
        "洗濯しても型くずれしません|傷や汚れに強い高品質な素材を使用しています|"
        "クッション性のある中敷きで快適な履き心地|省エネで明るい電球色LED|"
        "室内でも屋外でも一年中使えます",
        "1年間の限定保証付き|湿らせた布で簡単にお手入れできます|組み立ては15分以内|一人暮らしやオフィスに最適|"
        "ご注文前にサイズをご確認ください|"
        "漂白剤は使用しないでください",
        "テーブルランプ|アームチェア|ランニングシューズ|コーヒーマグ|クッションカバー|収納バスケット|"
        "ウォールシェルフ|バスタオル|トラベルバッグ|フライパン",
        "モダン|クラシック|軽量|丈夫|プレミアム|柔らかい|折りたたみ|コンパクト|上品|防水",
        "ブラック|ホワイト|ブルー|レッド|グリーン|グレー|ブラウン|ベージュ|ピンク|イエロー|ゴールド|シルバー|"
        "マルチカラー|オフホワイト",
        "サイズ",
        "用",
    ),
    "zh": _words(
        "zh",
        "现代设计,适合各种房间和风格|采用实木制成,手工打磨|面料柔软透气,多次洗涤不变形|优质材料,耐刮耐磨|"
        "舒适的缓震鞋垫|节能暖白光 LED|室内外四季皆宜",
        "一年有限保修|用湿布轻松擦拭|几分钟即可组装|适合小户型和办公室|下单前请测量空间|不可漂白",
        "台灯|扶手椅|跑步鞋|咖啡杯|靠垫套|收纳篮|壁架|浴巾|旅行包|煎锅",
        "现代|经典|轻便|耐用|优质|柔软|可折叠|紧凑|优雅|防水",
        "黑色|白色|蓝色|红色|绿色|灰色|棕色|米色|粉色|黄色|金色|银色|多色|米白色",
        "尺寸",
        "适用于",
    ),
    "hi": _words(
        "hi",
        "आधुनिक डिज़ाइन जो हर कमरे के लिए उपयुक्त है|मज़बूत लकड़ी से हाथ से बनाया गया|मुलायम और हवादार कपड़ा जो "
        "धोने पर भी आकार बनाए रखता है|"
        "उच्च गुणवत्ता की सामग्री, खरोंच प्रतिरोधी|हर कदम पर आराम के लिए गद्देदार तला|ऊर्जा बचाने वाली एलईडी रोशनी",
        "एक साल की सीमित वारंटी|गीले कपड़े से साफ करना आसान|कुछ ही मिनटों में तैयार|छोटे घरों के लिए आदर्श|उपहार के लिए उत्तम",
        "टेबल लैंप|कुर्सी|जूते|कॉफी मग|कुशन कवर|टोकरी|दीवार शेल्फ|तौलिया|यात्रा बैग|तवा",
        "आधुनिक|क्लासिक|हल्का|मज़बूत|प्रीमियम|मुलायम|फोल्डेबल|छोटा|सुंदर|वाटरप्रूफ",
        "काला|सफेद|नीला|लाल|हरा|ग्रे|भूरा|बेज|गुलाबी|पीला|सुनहरा|चांदी|बहुरंगी|ऑफ-व्हाइट",
        "आकार",
        "के लिए",
    ),
    "te": _words(
        "te",
        "ప్రతి గదికి సరిపోయే ఆధునిక డిజైన్|గట్టి చెక్కతో చేతితో తయారు చేయబడింది|మృదువైన మరియు గాలి ఆడే వస్త్రం|"
        "గీతలు పడని నాణ్యమైన పదార్థం|"
        "ప్రతి అడుగులో సౌకర్యం కోసం మెత్తని సోల్",
        "ఒక సంవత్సరం వారంటీ|తడి గుడ్డతో శుభ్రం చేయడం సులభం|నిమిషాల్లో అమర్చవచ్చు|చిన్న ఇళ్లకు అనువైనది",
        "టేబుల్ లాంప్|కుర్చీ|బూట్లు|కాఫీ మగ్|కుషన్ కవర్|బుట్ట|షెల్ఫ్|టవల్|బ్యాగ్",
        "ఆధునిక|క్లాసిక్|తేలికైన|గట్టి|ప్రీమియం|మృదువైన|చిన్న",
        "నలుపు|తెలుపు|నీలం|ఎరుపు|ఆకుపచ్చ|బూడిద|గోధుమ|లేత గోధుమ|గులాబీ|పసుపు|బంగారు|వెండి|బహుళ రంగులు|ఆఫ్ వైట్",
        "పరిమాణం",
        "కోసం",
    ),
    "sv": _words(
        "sv",
        "Modern design som passar i alla rum|Tillverkad av massivt trä med handgjord finish|Mjukt tyg som andas och "
        "behåller formen|Material av hög kvalitet som tål repor|Vadderad innersula för bekväma steg",
        "med två års garanti|torkas av med fuktig trasa|monteras på några minuter|perfekt för små lägenheter|"
        "tvättas i 30 °C",
        "Bordslampa|Fåtölj|Löparsko|Kaffemugg|Kuddfodral|Förvaringskorg|Vägghylla|Badhandduk|Resväska",
        "Modern|Klassisk|Lätt|Slitstark|Mjuk|Hopfällbar|Kompakt|Elegant|Vattentät",
        "Svart|Vit|Blå|Röd|Grön|Grå|Brun|Beige|Rosa|Gul|Guld|Silver|Flerfärgad|Benvit",
        "Storlek",
        "för",
    ),
    "pt": _words(
        "pt",
        "Design moderno que combina com qualquer ambiente|Fabricado em madeira maciça com acabamento manual|Tecido "
        "macio e respirável que mantém a forma|Materiais de alta qualidade, resistentes a riscos|Palmilha acolchoada",
        "com um ano de garantia|fácil de limpar com um pano úmido|montagem em poucos minutos|ideal para apartamentos "
        "pequenos|não usar alvejante",
        "Luminária|Poltrona|Tênis de corrida|Caneca|Capa de almofada|Cesto|Prateleira|Toalha de banho|Bolsa de viagem",
        "Moderno|Clássico|Leve|Resistente|Macio|Dobrável|Compacto|Elegante|Impermeável",
        "Preto|Branco|Azul|Vermelho|Verde|Cinza|Marrom|Bege|Rosa|Amarelo|Dourado|Prata|Multicor|Branco gelo",
        "Tamanho",
        "para",
    ),
    "tr": _words(
        "tr",
        "Her odaya uyan modern tasarım|İnce el işçiliğiyle masif ahşaptan üretilmiştir|Yumuşak ve nefes alan "
        "kumaş|Çizilmeye "
        "karşı dayanıklı kaliteli malzeme|Her adımda rahatlık için dolgulu iç taban",
        "iki yıl garantili|nemli bezle kolayca silinir|birkaç dakikada kurulur|küçük evler için İDEAL|30 °C'de "
        "yıkanabilir",
        "Masa Lambası|Koltuk|Koşu Ayakkabısı|Kahve Kupası|Yastık Kılıfı|Sepet|Raf|Havlu|Seyahat Çantası",
        "Modern|Klasik|Hafif|Dayanıklı|Yumuşak|Katlanır|İnce|Zarif|Su Geçirmez",
        "Siyah|Beyaz|Mavi|Kırmızı|Yeşil|Gri|Kahverengi|Bej|Pembe|Sarı|Altın|Gümüş|Çok Renkli|Kırık Beyaz",
        "Beden",
        "için",
    ),
    "ko": _words(
        "ko",
        "어느 방에나 어울리는 현대적인 디자인|원목으로 만들어 손으로 마감했습니다|세탁 후에도 형태를 유지하는 "
        "부드러운 원단|긁힘에 강한 고품질 소재|"
        "걸을 때마다 편안한 쿠션 안창",
        "1년 제한 보증|젖은 천으로 쉽게 닦을 수 있습니다|몇 분 안에 조립|작은 아파트에 적합|표백하지 마십시오",
        "테이블 램프|안락의자|운동화|커피 머그|쿠션 커버|바구니|선반|목욕 수건|여행 가방",
        "현대적|클래식|가벼운|튼튼한|부드러운|접이식|소형|우아한|방수",
        "블랙|화이트|블루|레드|그린|그레이|브라운|베이지|핑크|옐로우|골드|실버|멀티컬러|오프화이트",
        "사이즈",
        "용",
    ),
    "he": _words(
        "he",
        "עיצוב מודרני שמתאים לכל חדר|עשוי עץ מלא בגימור ידני|בד רך ונושם ששומר על צורתו|חומרים איכותיים עמידים "
        "בפני שריטות|"
        "מדרס מרופד לנוחות בכל צעד",
        "אחריות מוגבלת לשנה|קל לניקוי במטלית לחה|מורכב בתוך דקות|מתאים לדירות קטנות|אין להלבין",
        "מנורת שולחן|כורסה|נעלי ריצה|ספל קפה|כיסוי לכרית|סל אחסון|מדף|מגבת|תיק נסיעות",
        "מודרני|קלאסי|קל|חזק|רך|מתקפל|קטן|אלגנטי|עמיד במים",
        "שחור|לבן|כחול|אדום|ירוק|אפור|חום|בז'|ורוד|צהוב|זהב|כסף|צבעוני|שמנת",
        "מידה",
        "עבור",
    ),
}

PHONE_BULLETS = [
    "Snug fit for {model}, with perfect cut-outs for volume buttons, audio and charging ports; every part of "
    "the phone "
    "stays within reach of your fingers while the cover is on",
    "Compatible with {model} only; please check the model of your phone before placing the order, since covers "
    "of other "
    "models look alike but do not fit {model}",
    "Stylish design and appearance, express your unique personality with this back cover for {model} at home, at the "
    "office and on the road",
    "Extreme precision design allows easy access to all buttons and ports of {model} while a raised bezel lifts "
    "screen "
    "and camera off flat surfaces",
    "Slim polycarbonate shell that weighs next to nothing and fits into any pocket, with a soft inner lining "
    "that does "
    "not scratch the back of your phone",
    "Soft TPU material absorbs shocks and protects {model} from drops, bumps and scratches; tested by dropping "
    "a phone "
    "from a height of one metre on all of its corners",
    "High resolution UV print on a matte surface; colours do not peel, fade or turn yellow over time, even when the "
    "cover is washed often or left in the sun",
    "Easy to put on and take off, no tools needed; light weight and fully washable with warm water and a mild soap",
    "Country of Origin: India; package contains one mobile back cover, the phone that is shown is not included",
]
PHONE_KEYWORDS = _listed(
    "mobile cover|back case|back cover|designer case|printed cover|hard case|silicone case|bumper|flip cover|"
    "case for girls|case for boys|stylish cover|shock proof|slim fit|3d print|transparent|tempered glass|phone cover|"
    "protective case|mobile accessories|gift for him|gift for her|latest cover|rubber case|Mobile Cover"
)
_MAKERS = (
    "Samsung Galaxy",
    "Redmi Note",
    "Apple iPhone",
    "OnePlus",
    "Vivo",
    "Oppo",
    "Realme",
    "Nokia",
    "Honor",
    "Moto",
)
_SERIES = ("A", "M", "S", "X", "Y", "F", "G")
PHONE_MODELS = [
    f"{maker} {series}{number}{ending}"
    for maker in _MAKERS
    for series in _SERIES
    for number, ending in ((5, ""), (7, " Pro"), (9, " Plus"), (10, ""), (20, ""), (30, "s"))
]
MOTIFS = _listed(
    "Red Rose|Abstract Waves|Lord Ganesha|Blue Butterfly|Galaxy Stars|Marble Stone|Coffee Quote|Camouflage|Peacock "
    "Feather|Mandala|City Skyline|Cartoon Owl|Geometric Lines|Wooden Grain|Cherry Blossom|Black Panther|Football|"
    "Motorcycle|Buddha|Paisley|Tribal Art|Music Notes|Snow Mountain|Sunset Beach|Leopard Print|Mom and Dad|Attitude "
    "Quote|Superhero Mask|Little Panda|Golden Leaves"
)
BRANDS = _listed(
    "AmazonBasics|Solimo|Stone & Beam|Rivet|find.|Pinzon by Amazon|Amazon Essentials|Symbol|Myx|Eono|365 "
    "Everyday Value|"
    "Umi|Whole Foods Market|Ravenna Home|The Fix|Amazon Collection|Presto!|Happy Belly|Goodthreads|Movian"
)
PHONE_BRANDS = ("Amazon Brand - Solimo", "AmazonBasics", "Solimo", "Amazon Brand - Eono")
MATERIALS = ("Wood", "Cotton", "Leather", "Polyester", "Stainless Steel", "Glass", "Ceramic", "Plastic", "Silicone")
PATTERNS = ("Solid", "Striped", "Floral", "Checked", "Printed", "Animal Print")
SHAPES = ("Rectangular", "Round", "Square", "Oval", "L-Shape")
FINISHES = ("Matte", "Polished", "Brushed", "Painted", "Unfinished")


class Domain(NamedTuple):
    """A shop site: its first language, and those that join it at times."""

    name: str
    country: str
    language: str
    others: tuple[str, ...]
    weight: int


DOMAINS = [
    Domain("amazon.in", "IN", "en_IN", ("hi_IN", "te_IN", "en_IN", "en_IN"), 14),
    Domain("amazon.com", "US", "en_US", ("es_MX", "zh_CN", "pt_BR", "ko_KR", "he_IL", "de_DE"), 34),
    Domain("amazon.co.uk", "GB", "en_GB", ("zh_CN", "sv_SE", "tr_TR", "pt_BR"), 13),
    Domain("amazon.de", "DE", "de_DE", ("en_GB", "nl_NL", "tr_TR", "zh_CN"), 9),
    Domain("amazon.es", "ES", "es_ES", ("pt_BR", "en_GB"), 5),
    Domain("amazon.fr", "FR", "fr_FR", ("en_GB", "de_DE"), 5),
    Domain("amazon.it", "IT", "it_IT", ("de_DE", "en_GB"), 5),
    Domain("amazon.co.jp", "JP", "ja_JP", ("zh_CN", "en_US", "ko_KR"), 4),
    Domain("amazon.nl", "NL", "nl_NL", ("en_GB", "de_DE"), 3),
    Domain("amazon.com.mx", "MX", "es_MX", ("en_US",), 2),
    Domain("amazon.ca", "CA", "en_CA", ("fr_CA",), 3),
    Domain("amazon.com.au", "AU", "en_AU", ("zh_CN",), 2),
    Domain("amazon.ae", "AE", "en_AE", ("en_GB",), 2),
    Domain("amazon.se", "SE", "sv_SE", ("en_GB",), 1),
    Domain("amazon.com.br", "BR", "pt_BR", ("en_US",), 1),
    Domain("amazon.com.tr", "TR", "tr_TR", ("en_GB",), 1),
]
