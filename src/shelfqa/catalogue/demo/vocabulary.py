"""What listings call things in the shops' languages: German, French, Spanish, Japanese and Hindi."""

from __future__ import annotations

_LANGUAGES = ("de", "fr", "es", "ja", "hi")
_TABLE = """
Black | Schwarz | Noir | Negro | ブラック | काला
White | Weiß | Blanc | Blanco | ホワイト | सफ़ेद
Red | Rot | Rouge | Rojo | レッド | लाल
Blue | Blau | Bleu | Azul | ブルー | नीला
Green | Grün | Vert | Verde | グリーン | हरा
Yellow | Gelb | Jaune | Amarillo | イエロー | पीला
Orange | Orange | Orange | Naranja | オレンジ | नारंगी
Pink | Rosa | Rose | Rosa | ピンク | गुलाबी
Purple | Lila | Violet | Morado | パープル | बैंगनी
Brown | Braun | Marron | Marrón | ブラウン | भूरा
Grey | Grau | Gris | Gris | グレー | स्लेटी
Beige | Beige | Beige | Beis | ベージュ | बेज
Wood | Holz | Bois | Madera | 木製 | लकड़ी
Ceramic | Keramik | Céramique | Cerámica | セラミック | सिरेमिक
Plastic | Kunststoff | Plastique | Plástico | プラスチック | प्लास्टिक
Glass | Glas | Verre | Vidrio | ガラス | काँच
Metal | Metall | Métal | Metal | メタル | धातु
Cotton | Baumwolle | Coton | Algodón | コットン | सूती
Linen | Leinen | Lin | Lino | リネン | लिनन
Wool | Wolle | Laine | Lana | ウール | ऊन
Denim | Denim | Denim | Tela vaquera | デニム | डेनिम
Leather | Leder | Cuir | Cuero | レザー | चमड़ा
Canvas | Segeltuch | Toile | Lona | キャンバス | कैनवास
Paper | Papier | Papier | Papel | 紙 | कागज़
Marble | Marmor | Marbre | Mármol | 大理石 | संगमरमर
Wicker | Korbgeflecht | Osier | Mimbre | 籐 | बेंत
Velvet | Samt | Velours | Terciopelo | ベルベット | मखमल
Solid | Einfarbig | Uni | Liso | 無地 | सादा
Striped | Gestreift | Rayé | A rayas | ストライプ | धारीदार
Dotted | Gepunktet | À pois | De lunares | ドット | बिंदीदार
Checked | Kariert | À carreaux | A cuadros | チェック | चेकदार
Zigzag | Zickzack | Zigzag | Zigzag | ジグザグ | ज़िगज़ैग
Floral | Blumen | Fleurs | Floral | 花柄 | फूलदार
Stars | Sterne | Étoiles | Estrellas | 星柄 | सितारे
Round | Rund | Rond | Redondo | 丸型 | गोल
Oval | Oval | Ovale | Ovalado | 楕円形 | अंडाकार
Square | Quadratisch | Carré | Cuadrado | 正方形 | चौकोर
Rectangular | Rechteckig | Rectangulaire | Rectangular | 長方形 | आयताकार
Hexagonal | Sechseckig | Hexagonal | Hexagonal | 六角形 | षट्कोणीय
Mug | Becher | Tasse | Taza | マグカップ | मग
Bottle | Flasche | Bouteille | Botella | ボトル | बोतल
T-Shirt | T-Shirt | T-shirt | Camiseta | Tシャツ | टी-शर्ट
Backpack | Rucksack | Sac à dos | Mochila | リュック | बैकपैक
Chair | Stuhl | Chaise | Silla | チェア | कुर्सी
Stool | Hocker | Tabouret | Taburete | スツール | स्टूल
Lamp | Lampe | Lampe | Lámpara | ランプ | लैंप
Wall Clock | Wanduhr | Horloge murale | Reloj de pared | 壁掛け時計 | दीवार घड़ी
Table | Tisch | Table | Mesa | テーブル | मेज़
Shoe | Schuh | Chaussure | Zapato | シューズ | जूता
Phone Case | Handyhülle | Coque de téléphone | Funda de móvil | スマホケース | फ़ोन कवर
Storage Box | Aufbewahrungsbox | Boîte de rangement | Caja | 収納ボックス | डिब्बा
Plate | Teller | Assiette | Plato | プレート | प्लेट
Umbrella | Regenschirm | Parapluie | Paraguas | 傘 | छाता
Notebook | Notizbuch | Carnet | Cuaderno | ノート | नोटबुक
Cushion | Kissen | Coussin | Cojín | クッション | कुशन
Vase | Vase | Vase | Jarrón | 花瓶 | फूलदान
Sofa | Sofa | Canapé | Sofá | ソファ | सोफ़ा
Rug | Teppich | Tapis | Alfombra | ラグ | गलीचा
Colour | Farbe | Couleur | Color | カラー | रंग
Material | Material | Matière | Material | 素材 | सामग्री
Pattern | Muster | Motif | Estampado | 柄 | पैटर्न
Shape | Form | Forme | Forma | 形 | आकार
"""
_SETS = {
    "en": "Set of {n}",
    "de": "{n}er-Set",
    "fr": "Lot de {n}",
    "es": "Juego de {n}",
    "ja": "{n}点セット",
    "hi": "{n} का सेट",
}
_PACKS = {
    "en": "Pack of {n}",
    "de": "{n}er-Pack",
    "fr": "Pack de {n}",
    "es": "Paquete de {n}",
    "ja": "{n}個パック",
    "hi": "{n} का पैक",
}
TRANSLATIONS: dict[str, dict[str, str]] = {language: {} for language in _LANGUAGES}
for _line in _TABLE.strip().splitlines():
    _english, *_others = (cell.strip() for cell in _line.split("|"))
    for _language, _word in zip(_LANGUAGES, _others, strict=True):
        TRANSLATIONS[_language][_english] = _word


def word(english: str, language_tag: str) -> str:
    """Translate a word of the table; `language_tag` is like de_DE. Unknown words stay English."""
    return TRANSLATIONS.get(language_tag[:2], {}).get(english, english)


def set_phrase(count: int, language_tag: str, *, pack: bool = False) -> str:
    """Say how many are sold together."""
    return (_PACKS if pack else _SETS)[language_tag[:2]].format(n=count)
